"""Rewards that come steps later: objects are submitted and wait, and training goes on with what has come back.

Every batch is asked for in three ways. Objects whose rewards are known (in memory, in a store, or because no isolated
term is needed for them) are scored at once. Others are submitted and wait, neither valid nor invalid. Those that were
submitted before and are complete by now are scored as any other, and handed to the learner as `arrived`.

Nothing that was paid for is unused: in the last part of a training nothing new is submitted, what is under way is
waited for, and the steps that are left learn from it.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np

from oreflow.agent.config.asynchronous import AsynchronousConfig
from oreflow.agent.config.run import Config
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.ledgers.ledger import RewardLedger
from oreflow.envs.arrays import Arrays, Bools, Floats, States
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.contract.deferred import Deferred
from oreflow.rewards.contract.protocol import Batch
from oreflow.rewards.errors import RewardParameterError

# Of the steps, the share at the end in which nothing new is submitted.
LAST_SHARE = 0.05
# So long at a time is waited, so that a signal is heard.
_SLICE_S = 0.5


def make_ledger(config: Config, kernel: TransitionKernel, reward: Reward, failures: RewardFailures) -> RewardLedger:
    """The ledger of a training, one that does not wait for rewards where `run.asynchronous` asks for it.

    Raises:
        RewardParameterError: where no term can be asked without waiting.
    """
    given = kernel, reward, failures, config.reward.invalid_budget, config.target
    if config.run.asynchronous is None:
        return RewardLedger(*given)
    costs = [entry.cost or 0.0 for entry in config.reward.terms]
    return AsynchronousLedger(*given, settings=config.run.asynchronous, steps=config.sampler.steps, costs=costs)


class AsynchronousLedger(RewardLedger):
    """Scores what is known, and keeps account of what waits.

    Args:
        settings: how much may wait, for how long, and what may be paid.
        steps: of the whole training.
        costs: of one value, by term of the reward.

    Attributes:
        n_calls, cost: values of isolated terms that were paid for, and what they cost together.

    Raises:
        RewardParameterError: where no term can be asked without waiting.
    """

    def __init__(
        self, *given: Any, settings: AsynchronousConfig, steps: int, costs: Sequence[float], **further: Any
    ) -> None:
        super().__init__(*given, **further)
        self._settings = settings
        self._last_from = steps - max(round(LAST_SHARE * steps), 1)
        self._terms: list[tuple[Deferred, float]] = []
        for (term, _), cost in zip(self._reward.terms, costs):
            if _is_deferred(term):
                self._terms.append((term, cost))
        if not self._terms:
            names = ", ".join(term.name for term, _ in self._reward.terms)
            raise RewardParameterError(
                f"run.asynchronous: expected a reward term that can be asked without waiting, got {names}; set "
                "isolated: true for the dear ones"
            )
        self._step = 0
        self._waiting: dict[bytes, tuple[States, int]] = {}
        self._complete: list[tuple[States, int]] = []
        self._to_resubmit = False
        self._staleness: list[int] = []
        self.n_calls, self.cost = 0, 0.0

    def begin(self, step: int) -> None:
        """Take note of which step the next calls belong to."""
        self._step = step
        if self._to_resubmit:  # what was under way when the training stopped; it is paid for once
            self._to_resubmit = False
            self._ask(lambda: self._submit_objects(self._objects_of([row for row, _ in self._waiting.values()])))

    def __call__(self, states: States) -> RewardValues:
        """The rewards of terminal states; those of objects that wait are not valid.

        Raises:
            RewardBudgetError: when the share of objects without a valid reward exceeds the budget.
        """
        objects = self._kernel.objects(states)
        known = self._ask(lambda: self._known(objects))
        values = _none_of(len(states))
        if known.any():
            found = super().__call__(states[known])
            values.valid[known], values.log_reward[known] = found.valid, found.log_reward
            values.bounded[known] = found.bounded
            share = np.zeros(len(states))
            share[known] = found.log_labelings
            values = RewardValues(values.log_reward, values.valid, {}, {}, values.bounded, log_labelings=share)
        self._submit(states[~known])
        return values

    def arrived(self, *, wait: bool) -> tuple[States, Floats]:
        """Terminal states that waited and whose rewards have come, [n, *state_shape], and their log R, float64 [n].

        In the last part of a training, and for objects that were submitted `max_stale_steps` ago, this waits.

        Args:
            wait: for at least one with a valid reward, where any is to come.
        """
        stale = self._settings.max_stale_steps
        oldest_allowed = self._step if self._step >= self._last_from else -1 if stale is None else self._step - stale
        self._ask(lambda: self._collect_until(lambda: all(since > oldest_allowed for since in self._since())))
        states, log_reward = self._scored()
        while wait and not len(states) and self._waiting and not self.stopping():
            self._ask(lambda: self._collect_until(lambda: bool(self._complete)))
            states, log_reward = self._scored()
        return states, log_reward

    def _since(self) -> list[int]:
        return [since for _, since in self._waiting.values()]

    def _scored(self) -> tuple[States, Floats]:
        """Score what is complete; rows without a valid reward are counted and left out."""
        complete = self._complete
        if not complete:
            nothing = self._kernel.initial(1)[:0]
            return nothing, np.empty(0)
        states = np.stack([row for row, _ in complete])
        self._staleness += [self._step - since for _, since in complete]
        values = super().__call__(states)
        self._complete = []
        return states[values.valid], values.log_share[values.valid]

    # Submitting

    def _submit(self, states: States) -> None:
        """Submit distinct objects that do not wait yet, as far as the budget goes, and wait where there is no room."""
        if self._step >= self._last_from:
            return
        fresh = {row.tobytes(): row for row in states}
        rows = [row for key, row in fresh.items() if key not in self._waiting]
        while rows and not self.stopping():
            n = min(self._settings.max_waiting - len(self._waiting), self._affordable(), len(rows))
            if self._affordable() <= 0:
                return
            if n <= 0:
                self._ask(lambda: self._collect_until(lambda: len(self._waiting) < self._settings.max_waiting))
                continue
            part, rows = rows[:n], rows[n:]
            objects = self._objects_of(part)

            def pay(objects: Batch = objects) -> None:
                for number, (_, cost) in zip(self._submit_objects(objects), self._terms):
                    self.n_calls += number
                    self.cost += number * cost

            # Before they are submitted, so that a checkpoint made while that fails knows of them.
            self._waiting |= {row.tobytes(): (row, self._step) for row in part}
            self._ask(pay)

    def _affordable(self) -> int:
        """How many more objects may be submitted, whatever their terms know of them already."""
        most = float("inf")
        if self._settings.budget_calls is not None:
            most = (self._settings.budget_calls - self.n_calls) // len(self._terms)
        each = sum(cost for _, cost in self._terms)
        if self._settings.budget_cost is not None and each:
            left = self._settings.budget_cost - self.cost
            most = min(most, int(left / each * (1 + 1e-12)))
        return int(min(most, np.iinfo(np.int64).max))

    def _submit_objects(self, objects: Batch) -> list[int]:
        """Submit objects to each isolated term that does not know them; how many values each is to be paid for."""
        numbers = []
        for term, _ in self._terms:
            unknown = ~term.known(objects)
            numbers.append(term.submit(objects[unknown]) if unknown.any() else 0)
        return numbers

    # Collecting

    def _known(self, objects: Batch) -> Bools:
        out = np.ones(len(objects), dtype=np.bool_)
        for term, _ in self._terms:
            if out.any():
                out[out] = term.known(objects[out])
        return out

    def _collect_until(self, enough: Callable[[], bool]) -> None:
        """Take in answers, at least those that have come, until there are enough, nothing waits, or training stops."""
        self._take_in(0.0)
        while not enough() and self._waiting and not self.stopping():
            self._take_in(_SLICE_S)

    def _take_in(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        n = sum(term.collect(0.0) for term, _ in self._terms)
        while not n and timeout_s and time.monotonic() < until:
            n = sum(term.collect(timeout_s / len(self._terms)) for term, _ in self._terms)
        if not self._waiting:
            return
        keys = list(self._waiting)
        known = self._known(self._objects_of([self._waiting[key][0] for key in keys]))
        self._complete += [self._waiting.pop(key) for key, done in zip(keys, known.tolist()) if done]

    def _objects_of(self, rows: list[States]) -> Batch:
        return self._kernel.objects(np.stack(rows))

    def _ask(self, ask: Callable[[], Any]) -> Any:
        """Whatever goes wrong while terms are asked finds the sampler untouched."""
        self.scoring = True
        answer = ask()
        self.scoring = False
        return answer

    # Records

    def figures(self) -> dict[str, float]:
        """How many objects wait, how many steps what came since the line before had waited, and what was paid."""
        ages, self._staleness = self._staleness, []
        return {
            "n_waiting": len(self._waiting),
            "staleness_mean": float(np.mean(ages)) if ages else float("nan"),
            "staleness_max": max(ages, default=0),
            "n_calls": self.n_calls,
            "cost": self.cost,
        }

    def state(self) -> dict[str, Any]:
        """Counters for a checkpoint."""
        return super().state() | {"n_calls": self.n_calls, "cost": self.cost}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up the counts that `state` gave; what has been paid since stays paid."""
        super().load_state(state)
        self.n_calls = max(self.n_calls, state.get("n_calls", 0))
        self.cost = max(self.cost, state.get("cost", 0.0))

    def arrays(self) -> Arrays:
        """The objects that wait and those not yet learned from, with the steps in which they were submitted."""
        both = [*self._waiting.values(), *self._complete]
        states = np.stack([row for row, _ in both]) if both else self._kernel.initial(1)[:0]
        return {"waiting_states": states, "waiting_since": np.array([since for _, since in both], dtype=np.int64)}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        states, since = arrays["waiting_states"], arrays["waiting_since"].tolist()
        self._waiting = {row.tobytes(): (row, step) for row, step in zip(states, since)}
        self._to_resubmit = bool(self._waiting)


def _is_deferred(term: Any) -> TypeGuard[Deferred]:
    return isinstance(term, Deferred) and bool(getattr(term, "is_deferred", True))


def _none_of(n: int) -> RewardValues:
    """Values of objects that have none."""
    return RewardValues(np.full(n, np.nan), np.zeros(n, dtype=np.bool_), {}, {}, np.zeros(n, dtype=np.bool_))
