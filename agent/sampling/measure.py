"""What a training writes down of its sampler every `run.measure_every` steps, by a random stream of its own."""

from typing import Any

import numpy as np
import torch

from oreflow.agent.config.run import Config
from oreflow.agent.evaluation.exact import compare_exactly, log_target
from oreflow.agent.evaluation.statistics import rank_correlation
from oreflow.agent.learners.families.conditions import choose
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.rollout.rollout import draw_objects
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.training.build import make_decoration_scorer, make_prior, make_reward, make_scorer
from oreflow.envs.arrays import Floats, States
from oreflow.envs.contract.labelings import canonical
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals

N_DRAWN, N_TOP, N_RANKED = 1024, 100, 256


class Measurement:
    """Measures a policy while it is trained, without a trace in the training.

    The draws of a step come from a stream of that step alone, and the reward is built anew, so that no cache of the
    training's own fills: weights and all other figures are the same to the last bit with and without it, and after a
    stop.

    Args:
        config: of the run; a family of rewards is measured under its default condition.
        kernel: of its world.
    """

    def __init__(self, config: Config, kernel: TransitionKernel) -> None:
        self._config, self._kernel = config, kernel
        self._condition = choose(config)
        self._features = None if self._condition is None else self._condition.features
        self._prior = make_prior(config, kernel)
        reward = make_reward(config)
        self._of_states = make_scorer(kernel, reward, self._condition, target=config.target)
        self._of_objects = make_scorer(kernel, reward, self._condition, of_states=False, target=config.target)
        self._of_decorations = make_decoration_scorer(kernel, reward, config.target)
        self._known: Floats | None = None

    def __call__(self, policy: Policy, step: int) -> dict[str, Any]:
        """Measure a policy.

        Args:
            policy: in training; it is only read.
            step: names the random stream.

        Returns:
            Figures by name. In worlds that can be enumerated `exact_total_variation` and, with prescribed shares,
            `exact_total_variation_worst` of the stratum `exact_worst_stratum`. In all worlds `top_log_reward` (mean of
            the 100 highest log R among the distinct ones of 1024 draws, or of all where they are fewer), `n_*_drawn`
            and `entropy_*_nats` of the space groups or chemical systems of these draws, and `rank_correlation`
            (Spearman) of log P with the log of the target, which is log R but for priors and prescribed shares, over
            the first 256 distinct draws.
        """
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # a policy of a plug-in may draw from torch's own
            figures = {} if self._kernel.enumeration_unavailable_reason else self._exactly(policy)
            return figures | self._on_draws(policy, step)

    def _exactly(self, policy: Policy) -> dict[str, Any]:
        tau = self._config.target.tau
        given = self._rewards_of_all, self._features, self._prior, tau, self._of_decorations
        found = compare_exactly(self._kernel, policy, *given)
        figures: dict[str, Any] = {"exact_total_variation": found.total_variation}
        if found.strata:
            worst = max(found.strata, key=lambda stratum: stratum.total_variation)
            figures |= {"exact_total_variation_worst": worst.total_variation, "exact_worst_stratum": worst.name}
        return figures

    def _rewards_of_all(self, states: States) -> Floats:
        """log R of all terminal states of the world, asked for once."""
        if self._known is None:
            self._known = self._of_states(states)
        return self._known

    def _on_draws(self, policy: Policy, step: int) -> dict[str, Any]:
        rng = stream(self._config.seed, "measurement", step)
        conditions = None if self._features is None else self._features.expand(N_DRAWN, -1)
        drawn = canonical(self._kernel, draw_objects(self._kernel, policy, N_DRAWN, rng, condition=conditions))
        figures = _kinds(self._kernel.objects(drawn))
        _, first = np.unique(drawn, axis=0, return_index=True)
        distinct = drawn[np.sort(first)]
        log_reward = self._of_objects(distinct)
        valid = np.isfinite(log_reward)
        distinct, log_reward = distinct[valid], log_reward[valid]
        if len(distinct):
            figures["top_log_reward"] = float(np.sort(log_reward)[-N_TOP:].mean())
        some, tau = distinct[:N_RANKED], self._config.target.tau
        if len(some):
            wanted = log_target(self._kernel, policy, some, log_reward[:N_RANKED], self._prior, tau)
            log_p = log_terminating_probability(self._kernel, policy, some, self._features)
            correlation = rank_correlation(log_p, wanted)
            figures |= {} if correlation is None else {"rank_correlation": correlation}
        return figures


def measurement_of(config: Config, kernel: TransitionKernel) -> Measurement | None:
    """Make what measures a training as its config asks; None where it asks for nothing."""
    return Measurement(config, kernel) if config.run.measure_every else None


def _kinds(objects: Any) -> dict[str, Any]:
    """How draws spread over space groups, or over chemical systems where there are none."""
    if isinstance(objects, Crystals):
        name, kinds = "space_groups", objects.space_group
    elif isinstance(objects, Compositions):
        name, kinds = "chemical_systems", np.unique(objects.dense() > 0, axis=0, return_inverse=True)[1].reshape(-1)
    else:
        return {}
    share = np.unique(kinds, return_counts=True)[1] / len(kinds)
    entropy = float(-(share * np.log(share)).sum())
    return {f"n_{name}_drawn": len(share), f"entropy_{name}_nats": abs(entropy)}
