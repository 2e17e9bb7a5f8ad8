"""The contract between a reward term and the rest of oreflow."""

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from envs.compositions import Compositions


@dataclass(frozen=True)
class TermValues:
    """What a reward term says about a batch.

    Attributes:
        values: float64 [batch], in the term's unit; what stands where `valid` is False has no meaning.
        valid: bool [batch], False where the term has no value (out of scope, failed, unknown data).
        columns: further named arrays [batch] for the candidate table, such as a standard deviation.
        reasons: why an item is invalid, by row; rows without an entry carry no reason.
    """

    values: np.ndarray
    valid: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)


@runtime_checkable
class RewardTerm(Protocol):
    """A pure function from a batch of objects to values, with its name, unit and sources.

    Calling it never changes its input, gives each item the value it would get alone, and depends neither on the order
    of the elements nor on the number of formula units.
    """

    name: str
    unit: str
    version: str
    citations: tuple[str, ...]
    requires: Literal["composition", "structure"]

    def __call__(self, batch: Compositions) -> TermValues:
        """Values and validity of every row of `batch`."""
        ...
