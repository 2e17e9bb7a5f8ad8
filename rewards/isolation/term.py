"""Slow or fragile rewards on an executor: a crash, a hang or an exception costs the object that causes it."""

import hashlib
import json
import os
import pickle
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import oreflow.rewards.errors
from oreflow.envs.arrays import Bools, Ints
from oreflow.envs.errors import OreflowError
from oreflow.rewards.contract.batches import as_required, labels_of
from oreflow.rewards.contract.evaluation import join, scatter
from oreflow.rewards.contract.guard import report
from oreflow.rewards.contract.protocol import Batch, RewardTerm, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import (
    PluginError,
    RewardContractError,
    RewardParameterError,
    RewardWarning,
    WorkersLostError,
)
from oreflow.rewards.executors.messages import as_message
from oreflow.rewards.executors.protocol import Answer, Task
from oreflow.rewards.executors.settings import ExecutorSettings, make_executor
from oreflow.rewards.isolation.known import Known
from oreflow.rewards.isolation.pace import Pace
from oreflow.rewards.isolation.work import reward_work
from oreflow.rewards.registry import plugin_files

_WAIT_S = 3600.0


class IsolatedTerm(Term):
    """A term that lives on an executor; by default in worker processes of this machine.

    Called, it returns when all values are there. Local workers get a batch in one part each; when a worker dies or runs
    out of time, its part is evaluated again, object by object. Other executors get each object alone. Objects that cost
    a worker are quarantined: invalid from then on, and never tried again.

    `submit` and `collect` do the same without waiting. What was submitted is remembered when it comes, so that a call
    for objects that are `known` asks nobody.

    Args:
        name, params: as `rewards.registry.make_term` takes them; plug-in files loaded so far are loaded there too.
        term: instead of building one by name, a term that can be pickled.
        time_limit_s: for one object. A batch gets as much for each of its objects, and less once their usual time is
            known.
        workers: local processes, where the executor's settings do not say.
        executor: where the term lives.

    Raises:
        PluginError: when the term cannot be built in a worker.
        ExecutorError: when the executor cannot be reached.
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        term: RewardTerm | None = None,
        time_limit_s: float = 10.0,
        workers: int = 1,
        executor: ExecutorSettings | None = None,
    ) -> None:
        if not time_limit_s > 0 or workers < 1:
            raise RewardParameterError(
                f"reward {name!r}: expected time_limit_s above 0 and workers of at least 1, "
                f"got {time_limit_s} and {workers}"
            )
        settings = executor or ExecutorSettings()
        pickled = None if term is None else pickle.dumps(term)
        work = reward_work(name, params or {}, [str(path) for path in plugin_files()], pickled)
        workers = settings.workers or workers
        n_threads = max((os.cpu_count() or 1) // workers, 1)
        self._executor = make_executor(settings, work, time_limit_s=time_limit_s, workers=workers, n_threads=n_threads)
        self._in_shares = settings.kind == "local"
        self._pace = Pace(time_limit_s)
        self._under_way: dict[str, _Asked] = {}
        self._keys_under_way: set[bytes] = set()
        self._n_calls = 0
        self.registered_name, self.params = name, dict(params or {})
        weakref.finalize(self, self._executor.close)
        try:
            about = self._executor.start()
        except WorkersLostError as error:
            self._executor.close()
            raise PluginError(f"reward {name!r} cannot be built in a worker process: {error}") from None
        for text in about["warnings"]:
            warnings.warn(text, RewardWarning, stacklevel=2)
        self.name: str = about["name"]
        self._known = Known(self.name)
        self.unit: str = about["unit"]
        self.version: str = about["version"]
        self.citations, self.requires = about["citations"], about["requires"]
        self.needs_geometry = about["needs_geometry"]
        recipe = [name, self.params, self.version, None if pickled is None else hashlib.sha256(pickled).hexdigest()]
        self._recipe = json.dumps(recipe, sort_keys=True, default=str).encode()

    @property
    def seconds_of(self) -> Mapping[bytes, float]:
        """What each object took whose value has arrived that was submitted alone, by its key."""
        return self._known.seconds_of

    @property
    def n_workers_lost(self) -> int:
        """Tries that crashed or hung."""
        return self._executor.n_lost

    def __call__(self, batch: Batch) -> TermValues:
        """Values of a batch, in its order.

        Raises:
            RewardContractError: when the term breaks its contract.
            RewardBudgetError: when object after object costs a worker.
        """
        keys = batch.key_bytes()
        recalled = self._known.recall(keys)
        parts, reasons, outputs = list(recalled.parts), recalled.reasons, recalled.outputs
        rows = recalled.missing(len(keys))
        if len(rows):
            try:
                parts += self._ask_in_parts(batch, rows) if self._in_shares else self._ask_alone(batch, rows, keys)
            except BaseException:  # Ctrl-C, or a broken contract: nobody waits for what is under way
                self.close()
                raise
        if not parts:
            none = np.zeros(len(batch), dtype=np.bool_)
            return TermValues(np.full(len(batch), np.nan), none, reasons=reasons, tracebacks=outputs)
        parts.sort(key=lambda part: int(part[0][0]))
        out = scatter(join([values for _, values in parts]), np.concatenate([r for r, _ in parts]), len(batch), reasons)
        out.tracebacks.update(outputs)
        return out

    def known(self, batch: Batch) -> Bools:
        """Which rows have an answer, bool [batch]: a value, a quarantine, or no need to ask."""
        usable, rows, _ = as_required(self, batch)
        out = np.ones(len(batch), dtype=np.bool_)
        out[rows] = [key in self._known for key in usable.key_bytes()]
        return out

    def submit(self, batch: Batch) -> int:
        """Submit the objects that are neither known nor under way; return how many those are."""
        usable, _, _ = as_required(self, batch)
        tasks = []
        for row, key in enumerate(usable.key_bytes()):
            if key not in self._known and key not in self._keys_under_way:
                self._keys_under_way.add(key)
                task = Task(self._task_id(key), as_message(usable[row : row + 1]))
                self._under_way[task.id] = _Asked(usable[row : row + 1], key)
                tasks.append(task)
        self._executor.submit(tasks)
        return len(tasks)

    def collect(self, timeout_s: float) -> int:
        """Take in answers that came, and wait at most so long for the first; return how many.

        Raises:
            RewardContractError, RewardBudgetError: as a call does.
        """
        n, faults = 0, []
        for answer in self._executor.collect(timeout_s):
            try:
                n += self._take(answer) is not None
            except OreflowError as error:  # said once the others, which were paid for too, are kept
                faults.append(error)
        if faults:
            raise faults[0]
        if n and self._in_shares:
            self._executor.submit([])  # free workers get their next object now, not when somebody asks again
        return n

    @property
    def n_under_way(self) -> int:
        """Objects that were submitted and have no answer yet."""
        return len(self._keys_under_way)

    def _task_id(self, key: bytes) -> str:
        return hashlib.sha256(self._recipe + b"\0" + key).hexdigest()[:32]

    def _ask_alone(self, batch: Batch, rows: Ints, keys: list[bytes]) -> list[tuple[Ints, TermValues]]:
        """Submits each row by itself, and waits until all are known."""
        self.submit(batch[rows])
        wanted = {keys[row] for row in rows.tolist()}
        while wanted & self._keys_under_way:
            self.collect(_WAIT_S)
        return [(rows[i : i + 1], self._known.values_of(keys[row])) for i, row in enumerate(rows.tolist())]

    def _ask_in_parts(self, batch: Batch, rows: Ints) -> list[tuple[Ints, TermValues]]:
        """Submits the rows in one part for each worker, those of a lost worker one by one, and waits for all."""
        self._n_calls += 1
        out: list[tuple[Ints, TermValues]] = []
        while len(rows):
            wave, rows = np.split(rows, [self._pace.at_once(len(rows))])
            self._submit_parts(batch, [share for share in np.array_split(wave, self._executor.slots) if len(share)])
            while any(asked.rows is not None for asked in self._under_way.values()):
                for answer in self._executor.collect(_WAIT_S):
                    asked = self._take(answer)
                    if asked is None or asked.rows is None:
                        continue
                    if asked.values is None:  # it cost a worker: each row of it alone
                        self._submit_parts(batch, [asked.rows[i : i + 1] for i in range(len(asked.rows))])
                    else:
                        out.append((asked.rows, asked.values))
        return out

    def _submit_parts(self, batch: Batch, shares: list[Ints]) -> None:
        for rows in shares:
            part = batch[rows]
            # Of this call only: a local worker that is asked the same again is to answer again.
            task_id = f"{self._n_calls}: {rows[0]} to {rows[-1]}"
            self._under_way[task_id] = _Asked(part, part.key_bytes()[0], rows)
            self._executor.submit(
                [Task(task_id, as_message(part), self._pace.limit_s(len(rows)), 0 if len(rows) > 1 else None)]
            )

    def _take(self, answer: Answer) -> "_Asked | None":
        """Keep what an answer says; None where nobody waits for it."""
        asked = self._under_way.pop(answer.id, None)
        if asked is None:
            return None
        if asked.rows is None:
            self._keys_under_way.discard(asked.key)
        if answer.kind in ("crashed", "hung"):
            if len(asked.batch) == 1:
                asked.values = self._known.quarantine(
                    asked.key,
                    labels_of(asked.batch)[0],
                    answer.reason,
                    answer.output,
                    is_awaited=asked.rows is not None,
                )
            return asked
        if answer.kind == "raised":
            raise RewardContractError(f"reward {self.name!r}: {answer.reason}")
        if "raised" in answer.value:
            kind = getattr(oreflow.rewards.errors, answer.value["raised"], RewardContractError)
            raise kind(answer.value["message"])
        report(f"reward {self.name!r}", answer.value["side_effects"])
        asked.values = answer.value["values"]
        self._known.note_success()
        self._pace.learn(answer.seconds, len(asked.batch))
        if asked.rows is None:
            self._known.keep(asked.key, asked.values, answer.seconds)
        return asked

    def close(self) -> None:
        """Stop the workers and drop what is under way; the next call starts them again."""
        self._executor.close()
        self._under_way.clear()
        self._keys_under_way.clear()


@dataclass
class _Asked:
    """Objects that an answer is awaited for.

    Attributes:
        batch: the objects.
        key: of the first.
        rows: where they stand in the batch of a call; None for one that was submitted without waiting.
        values: once they are there.
    """

    batch: Any
    key: bytes
    rows: Ints | None = None
    values: TermValues | None = None
