"""What workers have said about objects so far: values, and what is never to be asked again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.rewards.contract.cache import MAX_ITEMS
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.errors import RewardBudgetError

# So many formulas in a row without a single value: the term is broken, not the formulas.
MAX_FAILURES_IN_A_ROW = 8


@dataclass(frozen=True)
class Recalled:
    """What was known of a batch.

    Attributes:
        parts: rows, int64 [n], and their values.
        reasons: why a row has no value, and is not to be asked.
        outputs: what workers printed at their end, by row.
    """

    parts: list[tuple[Ints, TermValues]]
    reasons: dict[int, str]
    outputs: dict[int, str]

    def missing(self, n: int) -> Ints:
        """The rows of a batch of n that nothing is known of, int64 [n_missing]."""
        known = {row for rows, _ in self.parts for row in rows.tolist()} | set(self.reasons)
        return np.array([row for row in range(n) if row not in known], dtype=np.int64)


class Known:
    """Answers by the key of an object; of values the latest, as many as a cache holds.

    Args:
        reward: name that messages call the term.

    Attributes:
        seconds_of: what each object took whose value is kept, by its key.
    """

    def __init__(self, reward: str) -> None:
        self.seconds_of: dict[bytes, float] = {}
        self._reward = reward
        self._values: dict[bytes, TermValues] = {}
        self._quarantine: dict[bytes, str] = {}
        self._outputs: dict[bytes, str] = {}  # what those printed at their end that were not waited for; told once
        self._failures_in_a_row = 0

    def __contains__(self, key: bytes) -> bool:
        """Whether an object has an answer: a value, or a quarantine."""
        return key in self._values or key in self._quarantine

    def recall(self, keys: Sequence[bytes]) -> Recalled:
        """What is known of the objects of a batch."""
        return Recalled(
            [(np.array([row]), self._values[key]) for row, key in enumerate(keys) if key in self._values],
            {row: self._quarantine[key] for row, key in enumerate(keys) if key in self._quarantine},
            {row: self._outputs.pop(key) for row, key in enumerate(keys) if key in self._outputs},
        )

    def values_of(self, key: bytes) -> TermValues:
        """The answer about one object that has one."""
        if key in self._values:
            return self._values[key]
        texts = {0: self._outputs.pop(key)} if key in self._outputs else {}
        return TermValues(np.array([np.nan]), np.array([False]), reasons={0: self._quarantine[key]}, tracebacks=texts)

    def note_success(self) -> None:
        """A worker gave values, so that the term as such is sound."""
        self._failures_in_a_row = 0

    def keep(self, key: bytes, values: TermValues, seconds: float) -> None:
        """Keep the value of one object."""
        self._values[key] = values
        self.seconds_of[key] = seconds
        if len(self._values) > MAX_ITEMS:
            del self._values[next(iter(self._values))]
            del self.seconds_of[next(iter(self.seconds_of))]

    def quarantine(self, key: bytes, label: str, reason: str, output: str, *, is_awaited: bool) -> TermValues:
        """Note that an object cost a worker; return its answer.

        Args:
            label: what messages call the object.
            output: what the worker printed at its end.
            is_awaited: whether the answer returned goes to whoever asked; otherwise `output` is kept for that one.

        Raises:
            RewardBudgetError: when this is one in a row of too many.
        """
        self._failures_in_a_row += 1
        self._quarantine[key] = f"{reason}; set aside"
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise RewardBudgetError(
                f"reward {self._reward!r} gave no value for {self._failures_in_a_row} formulas in a row, the last "
                f"{label}: {reason}. Mend it, or raise its time_limit_s"
            )
        if not is_awaited:
            self._outputs[key] = output or reason
        reasons, tracebacks = {0: f"{reason}; set aside"}, {0: output or reason}
        return TermValues(np.array([np.nan]), np.array([False]), reasons=reasons, tracebacks=tracebacks)
