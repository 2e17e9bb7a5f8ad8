"""Shares of sampled objects, with intervals and with the words that they cannot be compared without."""

from dataclasses import dataclass
from typing import Any

from oreflow.agent.evaluation.statistics import wilson


@dataclass(frozen=True)
class Share:
    """A share of the sampled objects.

    Attributes:
        name: such as "S.U.N.".
        count, n: hits, and sampled objects.
        protocol: threshold, hull, potential and novelty reference, as far as the figure depends on them.
    """

    name: str
    count: int
    n: int
    protocol: str

    @property
    def line(self) -> str:
        """One line that can be quoted alone."""
        low, high = wilson(self.count, self.n)
        return (
            f"{self.name:34s} {self.count / self.n:6.1%}  ({low:.1%} to {high:.1%})  {self.count} of n = {self.n}"
            + (f"; {self.protocol}" if self.protocol else "")
        )

    def figures(self) -> dict[str, Any]:
        """Plain data for a summary."""
        low, high = wilson(self.count, self.n)
        return {
            "share": self.count / self.n,
            "low_95": low,
            "high_95": high,
            "count": self.count,
            "n": self.n,
            "protocol": self.protocol,
        }
