"""From a config to the objects it names: kernel, reward, policy, and log R of kernel states."""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oreflow import rewards
from oreflow.agent import registry
from oreflow.agent.config.run import Config, with_later_parameters
from oreflow.agent.config.sampler import OBJECTIVES
from oreflow.agent.config.target import TargetConfig
from oreflow.agent.errors import ConfigError
from oreflow.agent.learners.families.conditions import Condition
from oreflow.agent.learners.learner import Learner
from oreflow.agent.objectives.plugin import check_objective
from oreflow.agent.policy.plugin import check_policy
from oreflow.agent.policy.prior import start_from
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.training.baselines import check_known
from oreflow.agent.training.baselines import make_searcher as make_searcher
from oreflow.agent.training.parts import check_world, make_policy
from oreflow.agent.training.parts import make_kernel as make_kernel
from oreflow.agent.training.priors import make_prior, settle_prior
from oreflow.agent.training.property_names import name_properties
from oreflow.agent.training.target import log_measure, record_shares
from oreflow.agent.training.warm_start import known_objects
from oreflow.envs.arrays import Floats, States
from oreflow.envs.contract.labelings import log_labelings
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.registry import COMPOSITION, STRUCTURE, WORLDS
from oreflow.rewards.errors import RewardParameterError, UnknownRewardError
from oreflow.rewards.models.ensemble.folder import pretrained_names
from oreflow.rewards.reference.predicted_hull import PREDICTED
from oreflow.rewards.registry import path_parameters

_CHECKED_AT_START = 16  # trajectories on which the kernel of an own world is held to its contract


def make_reward(config: Config, source: str = "config") -> rewards.Reward:
    """The reward of a config.

    Raises:
        ConfigError: naming the source, the key, and what the term complains about.
    """
    pairs = []
    for i, entry in enumerate(config.reward.terms):
        term = entry.model_dump()
        # Balance terms judge by the world's own table unless they name another.
        if entry.name in ("charge_balance", "electronegativity_balance"):
            rule = config.world.charge_rule()
            own = {} if rule is None else {"table": rule.table, "mixed_valence": rule.mixed_valence}
            term["params"] = own | term["params"]
        if entry.isolated:  # its workers may have another working folder, and its objects are known by its parameters
            files = [key for key in path_parameters(entry.name) if key in term["params"]]
            term["params"] |= {key: _with_folders(term["params"][key]) for key in files}
        try:
            pairs.append(rewards.build_term(term, config.run.executor.settings(), config.reward.store))
        except (RewardParameterError, UnknownRewardError) as error:
            raise ConfigError(f"{source}: reward.terms.{i} ({entry.name}): {error}") from None
        lacking = _lacking(pairs[-1][0], config)
        if lacking:
            raise ConfigError(f"{source}: reward.terms.{i} ({entry.name}): {lacking}")
    reward = config.reward
    return rewards.Reward(pairs, beta=reward.beta, log_min=reward.log_min, log_max=reward.log_max)


def _lacking(term: rewards.Term, config: Config) -> str:
    """What the world does not have that a term reads; "" where nothing is lacking."""
    world, kind = config.world.space(), config.world.kind
    if term.requires not in (COMPOSITION, STRUCTURE) or world.object_kind not in (COMPOSITION, STRUCTURE):
        if term.requires == world.object_kind:
            return ""
        return (
            f"expected a reward whose requires is {world.object_kind!r}, as world.kind is {kind}, got one of "
            f"{term.requires!r}; take the term out, or choose a world of that kind"
        )
    if term.requires != STRUCTURE:
        return ""
    if world.object_kind != STRUCTURE:
        return (
            f"expected a reward of compositions, as world.kind is {kind}; this one needs structures: set "
            "world.kind: wyckoff, or take the term out"
        )
    if not world.has_geometry and term.needs_geometry:
        return (
            "expected a reward of decorations, as world.geometry is false; this one needs a lattice and coordinates: "
            "set world.geometry: true, or take the term out"
        )
    return ""


def make_checked(config: Config, source: str, resuming: bool = False) -> tuple[TransitionKernel, rewards.Reward]:
    """Kernel and reward, so that a bad world or term, or an engine that is not there, stops before any work.

    Files that reward terms read are written into the config with their full paths: a run is used from any folder.
    Shares that a reference gives are written as numbers.

    Raises:
        ConfigError: naming the file, the key, and what the kernel or term complains about.
        PluginError, KernelContractError: when an own world cannot be built, or breaks the contract of kernels.
    """
    try:
        kernel = make_kernel(config)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{source}: world: {error}") from None
    if not WORLDS.is_built_in(config.world.kind):  # the suite checks those that ship
        check_world(config, kernel, _CHECKED_AT_START, stream(config.seed, "check"))
    _engine_is_there(config, source)
    check_plugins(config, kernel)
    with_later_parameters(config, new=not resuming)
    if config.reward.store is not None and "://" not in config.reward.store:
        config.reward.store = str(Path(config.reward.store).resolve())
    if not resuming:  # what a run began with stands in its config
        name_properties(config)
    reward = make_reward(config, source)
    if config.sampler.warm_start.path is not None:
        config.sampler.warm_start.path = str(Path(config.sampler.warm_start.path).resolve())
        if not resuming:  # what a run has begun with lies in its buffer
            check_known(config, kernel, source)
    record_shares(config, kernel)
    settle_prior(config, kernel)
    for term in config.reward.terms:
        for name in path_parameters(term.name):
            if name in term.params:
                term.params[name] = _with_folders(term.params[name])
    return kernel, reward


def _with_folders(value: Any) -> Any:
    """Give a file's path from the root, or those of a list of files; leave names of what ships."""
    if isinstance(value, list):
        return [_with_folders(one) for one in value]
    is_file = isinstance(value, str) and value not in (*pretrained_names(), PREDICTED) and Path(value).exists()
    return str(Path(value).resolve()) if is_file else value


def check_plugins(config: Config, kernel: TransitionKernel) -> None:
    """Hold the own policy and objective of a config to their contracts, on states of random walks.

    Raises:
        PluginError: naming the plug-in, the clause and the remedy.
    """
    rng = np.random.default_rng(0)
    if config.sampler.kind in OBJECTIVES and config.sampler.policy != "mlp":
        states = visited = kernel.initial(8)
        for _ in range(3):
            states = states[~kernel.is_terminal(states)]
            if not len(states):
                break
            allowed = kernel.forward_allowed(states)
            states = kernel.step(states, np.argmax(rng.random(allowed.shape) * allowed, axis=1))
            visited = np.concatenate([visited, states])
        policy = make_policy(config, kernel)
        condition = torch.rand(len(visited), policy.n_conditions, generator=torch.Generator().manual_seed(0))
        tokens = torch.from_numpy(kernel.encode(visited))
        check_policy(policy, tokens, condition if policy.n_conditions else None)
    if config.sampler.objective not in registry.OBJECTIVES.built_in:
        objective = registry.OBJECTIVES.find(config.sampler.objective)
        check_objective(config.sampler.objective, objective, rng, **config.sampler.objective_params)


def make_learner(config: Config, kernel: TransitionKernel) -> Learner:
    """The sampler of a config, ready to be trained.

    Raises:
        ConfigError: when the config asks for torchgfn and it is not installed.
    """
    rng = stream(config.seed, "training")
    policy = make_policy(config, kernel) if config.sampler.kind in OBJECTIVES else None
    prior = make_prior(config, kernel)
    if policy is not None and prior is not None:
        start_from(policy, prior)
    match config.sampler.kind:
        case "gflownet" if config.sampler.engine == "torchgfn":
            _engine_is_there(config, "config")
            from oreflow.agent.learners.torchgfn import TorchGFNLearner

            assert policy is not None
            return TorchGFNLearner(config, kernel, policy, rng)
        case "gflownet":
            from oreflow.agent.learners.gflownet import GFlowNetLearner

            def known() -> States | None:
                with warnings.catch_warnings():  # `make_checked` has said what was left out
                    warnings.simplefilter("ignore")
                    return known_objects(config, kernel)

            assert policy is not None
            return GFlowNetLearner(config, kernel, policy, rng, known, prior)
        case "policy_gradient":
            from oreflow.agent.learners.policy_gradient import PolicyGradientLearner

            assert policy is not None
            return PolicyGradientLearner(config, kernel, policy, rng, prior)
        case "prior":
            from oreflow.agent.learners.prior import PriorLearner

            assert policy is not None
            return PriorLearner(config, kernel, policy, rng, lambda: known_objects(config, kernel))
    from oreflow.agent.learners.baseline import BaselineLearner

    return BaselineLearner(make_searcher(config, kernel), config.sampler.batch, rng)


def _engine_is_there(config: Config, source: str) -> None:
    if config.sampler.engine == "torchgfn" and importlib.util.find_spec("gfn") is None:
        raise ConfigError(
            f"{source}: sampler.engine: torchgfn is not installed; pip install oreflow[torchgfn], or leave engine out"
        )


def make_scorer(
    kernel: TransitionKernel,
    reward: rewards.Reward,
    condition: Condition | None = None,
    *,
    of_states: bool = True,
    target: TargetConfig | None = None,
) -> Callable[[States], Floats]:
    """log R of terminal states, float64 [batch], NaN where invalid: what the faces take as `scorer`.

    Args:
        condition: the member of a family whose log R is meant.
        of_states: whether an object's R is shared out among the states that it is, so that a sampler of states
            proportional to this draws objects in proportion to R; otherwise every state has its object's R.
        target: says what a geometry counts; by default as much as any other.
    """

    def scorer(states: States) -> Floats:
        result = reward(kernel.objects(states))
        result = result if condition is None else condition.rewards(result)
        log_reward = result.log_reward - log_measure(kernel, states, target)
        log_reward = log_reward - log_labelings(kernel, states) if of_states else log_reward
        return np.where(result.valid, log_reward, np.nan)

    return scorer


def make_decoration_scorer(
    kernel: TransitionKernel, reward: rewards.Reward, target: TargetConfig
) -> Callable[[States], Floats] | None:
    """The part of log R that reads no geometry, of terminal states; None where geometries have no own normaliser."""
    if target.measure != "normalised":
        return None
    return lambda states: np.asarray(reward(kernel.objects(states)).log_decoration)


def set_threads(n: int) -> None:
    """Threads of torch's and numba's pools, at most as many as the machine has."""
    import numba

    torch.set_num_threads(n)
    numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
