"""Slow or fragile rewards in worker processes: a crash, a hang or an exception costs the formula that causes it.

A worker is a fresh Python process, never a fork: neither numba's nor OpenMP's threads survive one.
"""

import os
import pickle
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import oreflow.rewards.errors
from oreflow.rewards.contract.batches import labels_of
from oreflow.rewards.contract.evaluation import join, scatter
from oreflow.rewards.contract.guard import report
from oreflow.rewards.contract.protocol import Batch, RewardTerm, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardBudgetError, RewardContractError, RewardParameterError
from oreflow.rewards.isolation.process import TermWorker, WorkerLost
from oreflow.rewards.registry import plugin_files

# So many formulas in a row without a single value: the term is broken, not the formulas.
MAX_FAILURES_IN_A_ROW = 8
# A batch may take this many times what its size suggests before it is cut down to single formulas.
_PATIENCE = 10.0
_N_ALONE = 2


def _stop_all(workers: list[TermWorker]) -> None:
    for worker in workers:
        worker.stop()


class IsolatedTerm(Term):
    """A term that lives in worker processes.

    A batch is cut into one part for each worker. When a worker dies or runs out of time, its part is evaluated again,
    formula by formula; the formulas that cost a worker are quarantined: invalid from then on, and never tried again.

    Args:
        name, params: as `rewards.registry.make_term` takes them; plug-in files loaded so far are loaded there too.
        term: instead of building one by name, a term that can be pickled.
        time_limit_s: for one formula. A batch gets as much for each of its formulas, and less once their usual time is
            known.
        workers: processes.

    Raises:
        PluginError: when the term cannot be built in a worker.
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        term: RewardTerm | None = None,
        time_limit_s: float = 10.0,
        workers: int = 1,
    ) -> None:
        if not time_limit_s > 0 or workers < 1:
            raise RewardParameterError(
                f"reward {name!r}: expected time_limit_s above 0 and workers of at least 1, "
                f"got {time_limit_s} and {workers}"
            )
        recipe = {
            "name": name,
            "params": dict(params or {}),
            "plugins": [str(path) for path in plugin_files()],
            "term": None if term is None else pickle.dumps(term),
        }
        self._time_limit_s = time_limit_s
        n_threads = max((os.cpu_count() or 1) // workers, 1)
        self._workers = [TermWorker(recipe, n_threads) for _ in range(workers)]
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self._quarantine: dict[bytes, str] = {}
        self._lock = threading.Lock()
        self._failures_in_a_row = 0
        self._n_timed, self._seconds_per_item = 0, 0.0
        self.n_workers_lost = 0
        self.registered_name, self.params = name, dict(params or {})
        weakref.finalize(self, _stop_all, self._workers)
        self._workers[0].start()
        about = self._workers[0].about
        self.name: str = about["name"]
        self.unit: str = about["unit"]
        self.version: str = about["version"]
        self.citations, self.requires = about["citations"], about["requires"]
        self.needs_geometry = about["needs_geometry"]

    def __call__(self, batch: Batch) -> TermValues:
        """Values of a batch, in its order.

        Raises:
            RewardContractError: when the term breaks its contract.
            RewardBudgetError: when formula after formula costs a worker.
        """
        keys = batch.key_bytes()
        sound = np.array([row for row, key in enumerate(keys) if key not in self._quarantine], dtype=np.int64)
        reasons = {row: self._quarantine[key] for row, key in enumerate(keys) if key in self._quarantine}
        if not len(sound):
            return TermValues(np.full(len(batch), np.nan), np.zeros(len(batch), dtype=np.bool_), reasons=reasons)
        shares = [share for share in np.array_split(sound, len(self._workers)) if len(share)]
        if self._pool is None:
            parts = [self._evaluate(self._workers[0], batch[shares[0]])]
        else:
            for worker in self._workers:
                worker.halted = False
            futures = [self._pool.submit(self._evaluate, w, batch[rows]) for w, rows in zip(self._workers, shares)]
            try:
                parts = [future.result() for future in futures]
            except BaseException:  # else the interpreter would wait for the other workers before it ends
                for worker in self._workers:
                    worker.halted = True
                _stop_all(self._workers)
                raise
        return scatter(join(parts), sound, len(batch), reasons)

    def _evaluate(self, worker: TermWorker, batch: Batch) -> TermValues:
        # Two formulas alone first: one to load what loads late, one to learn how long the rest may take.
        if self._n_timed < _N_ALONE and len(batch) > 1:
            return join([self._evaluate(worker, part) for part in (batch[:1], batch[1:])])
        try:
            return self._call(worker, batch)
        except WorkerLost as error:
            if worker.halted:
                raise
            with self._lock:
                self.n_workers_lost += 1
            if len(batch) == 1:
                return self._set_aside(batch, str(error), error.output)
        return join([self._evaluate(worker, batch[row : row + 1]) for row in range(len(batch))])

    def _set_aside(self, item: Batch, reason: str, output: str) -> TermValues:
        with self._lock:
            self._failures_in_a_row += 1
            self._quarantine[item.key_bytes()[0]] = f"{reason}; set aside"
            in_a_row = self._failures_in_a_row
        if in_a_row >= MAX_FAILURES_IN_A_ROW:
            raise RewardBudgetError(
                f"reward {self.name!r} gave no value for {in_a_row} formulas in a row, the last {labels_of(item)[0]}: "
                f"{reason}. Mend it, or raise its time_limit_s"
            )
        reasons, tracebacks = {0: f"{reason}; set aside"}, {0: output or reason}
        return TermValues(np.array([np.nan]), np.array([False]), reasons=reasons, tracebacks=tracebacks)

    def _call(self, worker: TermWorker, batch: Batch) -> TermValues:
        limit = self._time_limit_s * len(batch)
        if self._n_timed >= _N_ALONE:
            limit = min(limit, max(self._time_limit_s, _PATIENCE * self._seconds_per_item * len(batch)))
        started = time.monotonic()
        answer = worker.call(batch, limit)
        seconds = (time.monotonic() - started) / len(batch)
        if "raised" in answer:
            kind = getattr(oreflow.rewards.errors, answer["raised"], RewardContractError)
            raise kind(answer["message"])
        report(f"reward {self.name!r}", answer["side_effects"])
        with self._lock:
            self._failures_in_a_row = 0
            self._n_timed += 1
            weight = 1.0 if self._n_timed <= _N_ALONE else 0.2  # forgets the first, which had to load things
            self._seconds_per_item += weight * (seconds - self._seconds_per_item)
        return answer["values"]

    def close(self) -> None:
        """Stops the workers; the next call starts them again."""
        _stop_all(self._workers)
