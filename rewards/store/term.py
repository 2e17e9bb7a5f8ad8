"""A term whose values are looked up in a store, and written there when they had to be computed."""

import contextlib
import time
from collections.abc import Sequence

import numpy as np

from oreflow.envs.arrays import Bools
from oreflow.rewards.contract.batches import as_required, labels_of
from oreflow.rewards.contract.deferred import Deferred
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import Batch, RewardTerm, TermValues
from oreflow.rewards.contract.term import Term, as_term
from oreflow.rewards.errors import StoreError
from oreflow.rewards.store.entry import Entry, entries_of, values_of
from oreflow.rewards.store.identity import TermIdentity, object_keys, object_texts
from oreflow.rewards.store.store import RewardStore
from oreflow.rewards.store.writing import Writing

_LONGEST_S = 1.0  # so much work at most is done between two records
_POLL_S = (0.05, 1.0)  # how often others' answers are looked for: first, and at most
_STEP_S = 600.0


class StoredTerm(Term):
    """A term that is asked only for what its store does not hold.

    Objects that another process is computing are not computed again: this one waits for the answer, and takes the work
    over where that process ends without one. Values that cannot be written, as when the disk is full, stay in memory
    and are written later.

    Args:
        term: what is stored.
        store: where to.
        identity: what its values belong to.
        cost: what one value costs, in a unit of the user's; recorded with it.
    """

    def __init__(self, term: RewardTerm, store: RewardStore, identity: TermIdentity, cost: float | None = None) -> None:
        self.term = term = as_term(term)
        self.name, self.unit, self.version, self.citations = term.name, term.unit, term.version, term.citations
        self.requires, self.needs_geometry = term.requires, term.needs_geometry
        self.n_computed = 0
        self._store, self._cost = store, cost
        self._writing = Writing(store, identity, term.unit, term.requires)
        self._id = self._writing.term
        self._untold: dict[str, str] = {}  # tracebacks of what came without being waited for
        self._submitted: list[tuple[Batch, list[str]]] = []
        self._elsewhere: dict[str, Batch] = {}
        self._looked = -_POLL_S[1]

    @property
    def unwrapped(self) -> Term:
        """The term whose values are stored."""
        return self.term.unwrapped

    def __call__(self, batch: Batch) -> TermValues:
        """Values of a batch, stored or computed.

        Raises:
            StoreError: when the store cannot be read, or claims cannot be made.
        """
        if not len(batch):
            return evaluate_term(self.term, batch)
        keys = object_keys(batch)
        row_of = _first_rows(keys)
        found = self._writing.recall(list(row_of))
        tracebacks: dict[int, str] = {}
        pause = _POLL_S[0]
        while missing := [key for key in row_of if key not in found]:
            claimed = self._store.claim(self._id, missing)
            found |= claimed.known
            mine = claimed.mine
            if mine:
                found |= self._compute(batch, [row_of[key] for key in mine], mine, tracebacks)
            elif claimed.others:
                self._own_answers(pause)
                found |= self._writing.recall(claimed.others)
                pause = min(1.5 * pause, _POLL_S[1])
        result = values_of([found[key] for key in keys])
        result.tracebacks.update(tracebacks)
        result.tracebacks.update({row_of[key]: self._untold.pop(key) for key in row_of if key in self._untold})
        return result

    # Without waiting, where the term can be asked so

    def known(self, batch: Batch) -> Bools:
        """Which rows have an answer, in the store or in memory, bool [batch]."""
        usable, rows, _ = as_required(self, batch)
        keys = object_keys(usable)
        found = self._writing.recall(list(dict.fromkeys(keys)))
        out = np.ones(len(batch), dtype=np.bool_)
        out[rows] = [key in found for key in keys]
        return out

    def submit(self, batch: Batch) -> int:
        """Claim and submit what nobody has computed nor is computing; return how many this process is to pay."""
        usable, _, _ = as_required(self, batch)
        keys = object_keys(usable)
        row_of = _first_rows(keys)
        new = [key for key in row_of if key not in self._elsewhere and key not in self._writing]
        claimed = self._store.claim(self._id, new)
        own = {key for _, listed in self._submitted for key in listed}
        self._elsewhere |= {key: usable[row_of[key] : row_of[key] + 1] for key in claimed.others if key not in own}
        if claimed.mine:
            part = usable[np.array([row_of[key] for key in claimed.mine])]
            self._submitted.append((part, claimed.mine))
            self._inner.submit(part)
        return len(claimed.mine)

    def collect(self, timeout_s: float) -> int:
        """Take in answers of the term, and those of other processes; return how many came."""
        until = time.monotonic() + timeout_s
        while True:
            left = max(until - time.monotonic(), 0.0)
            n = 0
            if self._submitted:
                self._inner.collect(min(left, _POLL_S[1]) if self._elsewhere else left)
                n += len(self._taken())
            elif self._elsewhere and left:
                time.sleep(min(left, _POLL_S[0]))
            n += self._looked_elsewhere()
            if n or not (self._submitted or self._elsewhere) or time.monotonic() >= until:
                return n

    def close(self) -> None:
        """Give up what is under way, and write what could not be written before."""
        with contextlib.suppress(StoreError):
            self._writing.record({})
            self._store.release(self._id, [key for _, listed in self._submitted for key in listed])
        self._submitted, self._elsewhere = [], {}
        if isinstance(self.term, Deferred):
            self.term.close()

    @property
    def is_deferred(self) -> bool:
        """Whether the term inside can be asked without waiting."""
        return isinstance(self.term, Deferred)

    @property
    def _inner(self) -> Deferred:
        assert isinstance(self.term, Deferred)
        return self.term

    def _taken(self) -> dict[str, Entry]:
        """Answers that the term has by now of what was submitted; recorded."""
        taken: dict[str, Entry] = {}
        left = []
        for part, listed in self._submitted:
            known = self._inner.known(part)
            if known.any():
                listed_known = [key for key, done in zip(listed, known.tolist()) if done]
                entries, texts = self._entered(part[known], listed_known, None)
                taken |= entries
                self._untold |= {listed_known[row]: text for row, text in texts.items()}
            if not known.all():
                left.append((part[~known], [key for key, done in zip(listed, known.tolist()) if not done]))
        self._submitted = left
        return taken

    def _looked_elsewhere(self) -> int:
        """How many answers other processes have written; work that they gave up is taken over."""
        if not self._elsewhere or time.monotonic() - self._looked < _POLL_S[1]:
            return 0
        self._looked = time.monotonic()
        come = self._writing.recall(list(self._elsewhere))
        for key in come:
            del self._elsewhere[key]
        if self._elsewhere:
            claimed = self._store.claim(self._id, list(self._elsewhere))
            for key in claimed.mine:
                part = self._elsewhere.pop(key)
                self._submitted.append((part, [key]))
                self._inner.submit(part)
        return len(come)

    # Computing

    def _compute(self, batch: Batch, rows: list[int], keys: list[str], tracebacks: dict[int, str]) -> dict[str, Entry]:
        """Compute what was claimed, and record it as it comes: whatever ends the process costs little of it."""
        found: dict[str, Entry] = {}
        try:
            if isinstance(self.term, Deferred):
                self._submitted.append((batch[np.array(rows)], keys))
                self.term.submit(batch[np.array(rows)])
                wanted = set(keys)
                while wanted - found.keys():
                    self.term.collect(_STEP_S)
                    found |= self._taken()
                return {key: found[key] for key in keys}
            size, first = 1, 0
            while first < len(rows):
                part, listed = rows[first : first + size], keys[first : first + size]
                began = time.perf_counter()
                some, texts = self._entered(batch[np.array(part)], listed, began)
                found |= some
                tracebacks |= {part[row]: text for row, text in texts.items()}
                first += size
                size = 2 * size if time.perf_counter() - began < _LONGEST_S / 2 else max(size // 2, 1)
            return found
        except BaseException:
            self._submitted = [(part, listed) for part, listed in self._submitted if not set(listed) & set(keys)]
            with contextlib.suppress(StoreError):
                self._store.release(self._id, [key for key in keys if key not in found])
            raise

    def _entered(
        self, part: Batch, keys: Sequence[str], began: float | None
    ) -> tuple[dict[str, Entry], dict[int, str]]:
        """Ask the term, and record what it says; also its tracebacks."""
        result = evaluate_term(self.term, part)
        seconds: list[float | None]
        if began is None:
            taken = getattr(self.term, "seconds_of", {})
            seconds = [taken.get(key) for key in part.key_bytes()]
        else:
            seconds = [(time.perf_counter() - began) / len(part)] * len(part)
        by = self._store.owner.name
        entries = entries_of(result, labels_of(part), object_texts(part), by, seconds=seconds, cost=self._cost)
        self.n_computed += len(part)
        new = dict(zip(keys, entries))
        self._writing.record(new)
        return new, result.tracebacks

    def _own_answers(self, pause: float) -> None:
        """Wait for others; what this process has itself under way may be what is asked for."""
        if self._submitted:
            self._inner.collect(pause)
            self._taken()
        else:
            time.sleep(pause)


def _first_rows(keys: Sequence[str]) -> dict[str, int]:
    """Where each key stands first."""
    rows: dict[str, int] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, row)
    return rows
