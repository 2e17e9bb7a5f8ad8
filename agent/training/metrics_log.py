"""What a training run writes down as it goes: a clock of its phases and the figures between two lines."""

import contextlib
import math
import time
from collections.abc import Iterator

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.config.sampler import OBJECTIVES
from oreflow.agent.learners.learner import Update
from oreflow.agent.rollout.distinct_rows import distinct
from oreflow.agent.training.ledgers.ledger import RewardLedger
from oreflow.envs.contract.labelings import canonical
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance


class _Clock:
    """Wall time and objects since the last line of the log.

    Attributes:
        seconds_measuring: since the start, which are no part of the rate.
    """

    def __init__(self, ledger: RewardLedger) -> None:
        self._ledger = ledger
        self._started, self._n = time.monotonic(), ledger.n_objects
        self._measuring = self.seconds_measuring = 0.0

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Counts the time within as time of measuring."""
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self._measuring += spent
            self.seconds_measuring += spent

    def close(self) -> dict[str, float]:
        """Seconds, those of them spent on measuring if any, and objects a second of the others; starts anew."""
        now = time.monotonic()
        seconds, n, measuring = now - self._started, self._ledger.n_objects - self._n, self._measuring
        self._started, self._n, self._measuring = now, self._ledger.n_objects, 0.0
        found = {"seconds": max(seconds, 1e-9), "objects_per_second": n / max(seconds - measuring, 1e-9)}
        return found | ({"seconds_measuring": measuring} if measuring else {})


class _Figures:
    """Means over the steps since the last line of the log, kept as sums so that a resumed training repeats them."""

    def __init__(self, config: Config) -> None:
        rule = config.world.charge_rule()
        self._neutral = None if rule is None else ChargeBalance(rule.table, rule.mixed_valence)
        self._learns = config.sampler.kind in OBJECTIVES
        self.sums: dict[str, list[float]] = {}

    def _add(self, name: str, total: float, n: float) -> None:
        if n and math.isfinite(total):
            old = self.sums.get(name, [0.0, 0.0])
            self.sums[name] = [old[0] + total, old[1] + n]

    def add(self, kernel: TransitionKernel, update: Update) -> None:
        """Takes in one step."""
        if update.loss is not None and math.isfinite(update.loss):
            self._add("loss", update.loss, 1)
        valid = update.values.log_reward[update.values.valid]
        self._add("mean_log_reward", float(valid.sum()), len(valid))
        self._add("share_unique", len(distinct(canonical(kernel, update.states))[0]), len(update.states))
        objects = kernel.objects(update.states)
        if self._neutral is not None and isinstance(objects, Compositions | Crystals):
            residual = self._neutral(objects.formula_units())
            self._add("share_neutral", int(np.sum(residual.valid & (residual.values == 0))), len(objects))
        for name, value in update.figures.items():
            self._add(name, value, 1)

    def close(self) -> dict[str, float]:
        """The means; starts anew. Defined in runs/README.md."""
        names = ("loss",) * self._learns + ("mean_log_reward", "share_unique")
        means = dict.fromkeys(names, math.nan) | {name: total / n for name, (total, n) in self.sums.items()}
        self.sums = {}
        return means
