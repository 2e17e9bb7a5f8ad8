"""A reward term whose answers come late, as a batch system's do: it outlives the training that asked."""

import numpy as np

from oreflow.envs.arrays import Bools
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term


class BatchSystem:
    """Who works at what, and what is done; each object that is submitted takes a few looks to be answered.

    Attributes:
        paid: keys in the order in which they were computed, each as often as it was.
        most: the largest number of objects under way at once.
    """

    def __init__(self, looks: int = 3, seed: int = 0) -> None:
        self.paid: list[bytes] = []
        self.under_way: dict[bytes, int] = {}
        self.done: set[bytes] = set()
        self.most = 0
        self.looks, self.rng = looks, np.random.default_rng(seed)

    def submit(self, keys: list[bytes]) -> None:
        """The same key is the same job: one that is under way or done is not begun again."""
        for key in keys:
            if key not in self.under_way and key not in self.done:
                self.paid.append(key)
                self.under_way[key] = int(self.rng.integers(1, 2 * self.looks))
        self.most = max(self.most, len(self.under_way))

    def look(self) -> list[bytes]:
        self.under_way = {key: left - 1 for key, left in self.under_way.items()}
        finished = [key for key, left in self.under_way.items() if left <= 0]
        for key in finished:
            del self.under_way[key]
        self.done |= set(finished)
        return finished


class LateTerm(Term):
    """Half the atoms, less 2 for each element; nothing for pure lithium. It never computes while somebody waits."""

    name, unit, version = "late", "1", "1"

    def __init__(self, system: BatchSystem) -> None:
        self.system = system
        self.asked: set[bytes] = set()
        self.here: set[bytes] = set()
        self.n_submitted = 0

    def __call__(self, batch: Compositions) -> TermValues:
        assert self.known(batch).all(), "a training that does not wait asks for what is known"
        return TermValues(value_of(batch), batch.dense()[:, 3] < batch.n_atoms)

    def known(self, batch: Compositions) -> Bools:
        return np.array([key in self.here for key in batch.key_bytes()], dtype=np.bool_)

    def submit(self, batch: Compositions) -> int:
        keys = [key for key in dict.fromkeys(batch.key_bytes()) if key not in self.asked and key not in self.here]
        self.asked |= set(keys)
        self.n_submitted += len(keys)
        self.system.submit(keys)
        return len(keys)

    def collect(self, timeout_s: float) -> int:
        self.system.look()
        come = {key for key in self.asked if key in self.system.done}
        self.asked -= come
        self.here |= come
        return len(come)

    def close(self) -> None:
        self.asked = set()


def value_of(batch: Compositions) -> np.ndarray:
    reduced = batch.reduced()
    return 0.5 * reduced.n_atoms - 2.0 * reduced.n_elements
