"""A run, or a prior that ships, ready to sample from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from oreflow.agent.config.run import Config
from oreflow.agent.config.sampler import OBJECTIVES
from oreflow.agent.errors import ConfigError
from oreflow.agent.learners.families.conditions import Condition, asked_config, choose
from oreflow.agent.learners.rejection import Rejection
from oreflow.agent.policy.network import Policy
from oreflow.agent.policy.prior import Prior
from oreflow.agent.policy.strata import Strata
from oreflow.agent.sampling.narrowing import Narrowing, completing, tinkering
from oreflow.agent.sampling.sampler import BaselineSampler, PolicySampler, Sampler
from oreflow.agent.storage.checkpoint import load_arrays, load_policy, read_state
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.shipped_priors import shipped_names
from oreflow.agent.training.build import (
    make_kernel,
    make_policy,
    make_reward,
    make_scorer,
    make_searcher,
    set_threads,
)
from oreflow.agent.training.priors import fitted_config, fitted_policy, make_prior
from oreflow.agent.training.resume import check_fits
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.suggestions import nearest


@dataclass
class TrainedRun:
    """A run ready to sample from.

    Attributes:
        config: of the run, with the value that is asked for in its reward where it was trained for a family of targets.
        condition: what it samples under where it was trained for a family.
        narrowing, whole: the bounds within which it draws and the run without them, where there are some.
    """

    config: Config
    kernel: TransitionKernel
    policy: Policy | None
    sampler: Sampler
    step: int
    condition: Condition | None = None
    prior: Prior | None = None
    narrowing: Narrowing | None = None
    whole: "TrainedRun | None" = None

    @property
    def strata(self) -> Strata | None:
        """What has shares of its own, with these shares; None where nothing has."""
        if self.policy is not None:
            return self.policy.strata
        searcher = self.sampler.searcher if isinstance(self.sampler, BaselineSampler) else None
        return searcher.strata if isinstance(searcher, Rejection) else None


def narrowed(run: TrainedRun, start: str | None, near: str | None, changes: int = 1) -> TrainedRun:
    """The same run, drawing within bounds: completions of a start, objects near another, or whatever it draws.

    Raises:
        StartError: when no object of the world keeps to them; naming the constraint that forbids it.
        ConfigError: for both at once, and for a run that cannot be narrowed.
    """
    if start is not None and near is not None:
        raise ConfigError("expected --start or --near, got both; leave one out")
    features = None if run.condition is None else run.condition.features
    if start is not None:
        found = completing(run.kernel, run.policy, start, features)
    elif near is not None:
        found = tinkering(run.kernel, run.policy, near, changes, features)
    else:
        return run
    return replace(run, kernel=found.kernel, sampler=found.sampler, policy=found.policy, narrowing=found, whole=run)


def load_run(
    folder: RunFolder,
    *,
    beta: float | None = None,
    weights: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
    step: int | None = None,
) -> TrainedRun:
    """The newest checkpoint of a run, or that of a step.

    Args:
        beta, weights, target: the condition to sample under, as `oreflow.agent.learners.families.conditions.choose`
            takes them.

    Raises:
        ConditionError: when the run was not trained for the condition.
        RunFolderError: when there is no run, or its config was edited since; naming the keys. When it keeps no
            checkpoint of the step; naming those that it has.
        CheckpointError: when its checkpoint is damaged.
    """
    config = folder.load_config()
    condition = choose(config, beta, weights, target)
    set_threads(config.run.threads)
    kernel = make_kernel(config)
    checkpoint = folder.latest_checkpoint() if step is None else folder.checkpoint_of(step)
    learns = config.sampler.kind in OBJECTIVES
    policy = make_policy(config, kernel) if learns else None
    state = read_state(checkpoint) if policy is None else load_policy(checkpoint, policy)
    check_fits(state, config, folder, "be sampled")
    config = asked_config(config, condition)
    sampler: Sampler
    if policy is None:
        searcher = make_searcher(config, kernel)
        searcher.load_arrays(load_arrays(checkpoint))
        sampler = BaselineSampler(
            searcher, make_scorer(kernel, make_reward(config), of_states=searcher.scores_states, target=config.target)
        )
    else:
        sampler = PolicySampler(kernel, policy, None if condition is None else condition.features)
    prior = make_prior(config, kernel)
    return TrainedRun(config, kernel, policy, sampler, int(state["step"]), condition, prior)


def open_prior(name: str) -> TrainedRun:
    """A prior that ships with oreflow, as a run ready to sample from.

    Raises:
        ConfigError: when none has this name.
    """
    if name not in shipped_names():
        raise ConfigError(f"expected the name of a shipped prior, got {name!r}; {nearest(name, shipped_names())}")
    config = fitted_config(name)
    set_threads(config.run.threads)
    kernel = make_kernel(config)
    policy = fitted_policy(name, config, kernel)
    return TrainedRun(config, kernel, policy, PolicySampler(kernel, policy, None), config.sampler.steps)
