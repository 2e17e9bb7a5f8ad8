"""Terms that can be asked without waiting: their values come when they are ready."""

from typing import Protocol, runtime_checkable

from oreflow.envs.arrays import Bools
from oreflow.rewards.contract.protocol import Batch


@runtime_checkable
class Deferred(Protocol):
    """What a term has beside `__call__` where its values may come later.

    Called for objects that are known, the term answers at once; for others, the call waits.
    """

    def known(self, batch: Batch) -> Bools:
        """Which rows have an answer, bool [batch]: a value, or that there is none."""
        ...

    def submit(self, batch: Batch) -> int:
        """Submit the objects that are neither known nor under way; return how many those are."""
        ...

    def collect(self, timeout_s: float) -> int:
        """Take in what came, and wait at most so many seconds for the first; return how many answers came."""
        ...

    def close(self) -> None:
        """End what was started for the term; what is under way is dropped."""
        ...
