"""Remembers values by canonical key, and finds out when a term is not a function of its object."""

import itertools
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oreflow.envs.arrays import Bools
from oreflow.rewards.contract.batches import as_required, labels_of
from oreflow.rewards.contract.deferred import Deferred
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import Batch, RewardTerm, TermValues
from oreflow.rewards.contract.term import Term, as_term
from oreflow.rewards.errors import RewardWarning

# Beyond so many values the oldest are forgotten, so that memory stays flat.
MAX_ITEMS = 500_000
_N_RECHECKED = 4


class _Entry(NamedTuple):
    """What is kept of one composition or crystal."""

    value: float
    valid: bool
    reason: str | None
    names: tuple[str, ...]
    cells: tuple


class CachedTerm(Term):
    """A term whose values are computed once for each reduced formula, or crystal where it requires structures.

    In calls number 1, 2, 4, 8 and so on a few items are evaluated a second time. A term that answers differently is
    reported, is no longer cached, and sets `deterministic` to False: nothing exact can then be said about a sampler.

    Args:
        term: any term; its exceptions are isolated as `oreflow.rewards.contract.evaluation` does.
        remember: False only watches for determinism.
        max_items: values kept; the oldest go first.
    """

    def __init__(self, term: RewardTerm, *, remember: bool = True, max_items: int = MAX_ITEMS) -> None:
        self.term = term = as_term(term)
        self.name, self.unit, self.version, self.citations = term.name, term.unit, term.version, term.citations
        self.requires, self.needs_geometry = term.requires, term.needs_geometry
        self.deterministic = True
        self.n_evaluated = 0
        self._remember = remember
        self._max_items = max_items
        self._known: dict[bytes, _Entry] = {}
        self._column_types: dict[str, np.dtype] = {}
        self._n_calls = 0

    @property
    def unwrapped(self) -> Term:
        """The term whose values are remembered."""
        return self.term.unwrapped

    def __call__(self, batch: Batch) -> TermValues:
        """Values of a batch; every distinct new formula goes to the term once, in one batch."""
        self._n_calls += 1
        result = self._recall(batch) if self._remember and len(batch) else self._evaluate(batch)
        if self.deterministic and self._n_calls & (self._n_calls - 1) == 0 and len(batch):
            self._recheck(batch, result)
        return result

    # Without waiting, where the term inside can be asked so (`contract.deferred`)

    def known(self, batch: Batch) -> Bools:
        """Which rows have an answer, bool [batch]: in memory, or further in."""
        usable, rows, _ = as_required(self, batch)
        out = np.ones(len(batch), dtype=np.bool_)
        out[rows] = [key in self._known for key in usable.key_bytes()]
        rest = np.flatnonzero(~out)
        out[rest] = self._deferred.known(batch[rest]) if len(rest) else True
        return out

    def submit(self, batch: Batch) -> int:
        """Submit what is neither known nor under way; return how many values that makes this process pay for."""
        return self._deferred.submit(batch)

    def collect(self, timeout_s: float) -> int:
        """Take in what came, and wait at most so long for the first; return how many answers came."""
        return self._deferred.collect(timeout_s)

    def close(self) -> None:
        """End what was started for the term inside."""
        if isinstance(self.term, Deferred):
            self.term.close()

    @property
    def is_deferred(self) -> bool:
        """Whether the term inside can be asked without waiting."""
        return isinstance(self.term, Deferred) and getattr(self.term, "is_deferred", True)

    @property
    def _deferred(self) -> Deferred:
        assert isinstance(self.term, Deferred)
        return self.term

    def _evaluate(self, batch: Batch) -> TermValues:
        self.n_evaluated += len(batch)
        return evaluate_term(self.term, batch)

    def _recall(self, batch: Batch) -> TermValues:
        keys = batch.key_bytes()
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        tracebacks: dict[int, str] = {}
        if new:
            rows = list(new.values())
            fresh = self._evaluate(batch[np.array(rows)])
            names = tuple(fresh.columns)
            for name, column in fresh.columns.items():
                self._column_types[name] = _common_type(self._column_types.get(name, column.dtype), column.dtype)
            cells = list(zip(*(column.tolist() for column in fresh.columns.values()))) or [()] * len(rows)
            for i, (key, value, valid) in enumerate(zip(new, fresh.values.tolist(), fresh.valid.tolist())):
                self._known[key] = _Entry(value, valid, fresh.reasons.get(i), names, cells[i])
            tracebacks = {rows[i]: text for i, text in fresh.tracebacks.items()}
        entries = [self._known[key] for key in keys]
        columns: dict[str, list] = {}
        for row, entry in enumerate(entries):
            for name, cell in zip(entry.names, entry.cells):
                empty = np.nan if self._column_types[name].kind == "f" else None
                columns.setdefault(name, [empty] * len(entries))[row] = cell
        surplus = max(len(self._known) - self._max_items, 0)
        for key in list(itertools.islice(self._known, surplus)):
            del self._known[key]
        return TermValues(
            np.array([entry.value for entry in entries]),
            np.array([entry.valid for entry in entries]),
            {name: _array(cells, self._column_types[name]) for name, cells in columns.items()},
            {row: entry.reason for row, entry in enumerate(entries) if entry.reason is not None},
            tracebacks,
        )

    def _recheck(self, batch: Batch, result: TermValues) -> None:
        rows = np.unique(np.linspace(0, len(batch) - 1, _N_RECHECKED).astype(np.int64))
        again = self._evaluate(batch[rows])
        differ = result.valid[rows] != again.valid
        differ |= result.valid[rows] & ~np.isclose(result.values[rows], again.values, rtol=1e-5, atol=1e-7)
        if differ.any():
            i = int(np.flatnonzero(differ)[0])
            item = labels_of(batch[rows[i : i + 1]])[0]
            self.deterministic = False
            self._remember = False
            self._known.clear()
            warnings.warn(
                f"reward {self.name!r} is not deterministic: {item} got {result.values[rows[i]]:.6g}, then "
                f"{again.values[i]:.6g}; its values are no longer cached, and nothing exact can be said about the "
                "sampler. Seed it",
                RewardWarning,
                stacklevel=3,
            )


def _common_type(a: np.dtype, b: np.dtype) -> np.dtype:
    """A type for the cells of both: batches without a missing value often come as integers."""
    if a == b:
        return a
    return np.promote_types(a, b) if a.kind in "fiu" and b.kind in "fiu" else np.dtype(object)


def _array(cells: list, dtype: np.dtype) -> NDArray[Any]:
    if dtype.kind in "fiub" and not any(cell is None for cell in cells):
        return np.array(cells, dtype=dtype)
    # Text as objects: its width differs from batch to batch, and None stands where a row has no such column. One by
    # one, for cells that are lists would become a second axis.
    out = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        out[row] = cell
    return out
