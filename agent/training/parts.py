"""From a config to the two objects that everything else is made of: the kernel of its world, and its network."""

import traceback
from typing import Any

import numpy as np

from oreflow.agent import registry
from oreflow.agent.config.run import Config
from oreflow.agent.learners.families.joint import make_family
from oreflow.agent.policy.network import Policy
from oreflow.agent.policy.plugin import PluginPolicy
from oreflow.agent.runtime.seeds import torch_generator
from oreflow.agent.training.target import make_strata, with_first_decision
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.errors import KernelContractError, OreflowError, PluginError
from oreflow.envs.registry import WORLDS


def make_kernel(config: Config) -> TransitionKernel:
    """The transition kernel of a config's world, with the decision first that has prescribed shares.

    Raises:
        ConfigError: for shares of what is not in the world.
        EmptyWorldError: when nothing satisfies its constraints.
        PluginError: when an own world cannot be built.
    """
    world, kind = config.world.space(), config.world.kind
    if WORLDS.is_built_in(kind):
        return with_first_decision(config, world.kernel())
    where = f"world {kind!r} ({WORLDS.origin(kind)})"
    try:
        kernel = world.kernel()
    except (OreflowError, ValueError):
        raise
    except Exception as error:
        raise PluginError(f"{where}: kernel() failed: {type(error).__name__}: {error}") from error
    declared = [*TransitionKernel.__annotations__, *vars(TransitionKernel)]
    missing = [name for name in declared if not name.startswith("_") and name not in dir(kernel)]
    if missing:
        raise PluginError(
            f"{where}: expected kernel() to give a TransitionKernel, got {type(kernel).__name__} without "
            f"{', '.join(missing)}; oreflow.envs.contract.protocol says what each is"
        )
    return kernel


def check_world(config: Config, kernel: TransitionKernel, n: int, rng: np.random.Generator) -> None:
    """Hold a config's world to the contract of kernels, on n random trajectories and, where it is small, on all states.

    Raises:
        KernelContractError: naming the world and where it comes from, the clause, and the likely mistake.
    """
    kind = config.world.kind
    where = f"world {kind!r} ({WORLDS.origin(kind)})"
    try:
        check_kernel(kernel, rng, n, config.world.space().object_kind)
    except KernelContractError as error:
        raise KernelContractError(f"{where}: {error}") from error
    except (OreflowError, ValueError):
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise KernelContractError(
            f"{where}: its kernel raised {type(error).__name__}: {error}, in {frame.name} ({frame.filename}, line "
            f"{frame.lineno})"
        ) from error


def make_policy(config: Config, kernel: TransitionKernel) -> Policy:
    """The untrained policy network."""
    sampler = config.sampler
    family = make_family(config)
    factors = kernel.token_factors, kernel.action_factors, kernel.n_backward_actions
    generator = torch_generator(config.seed, "weights")
    learned = sampler.backward == "learned"
    flow = sampler.kind == "policy_gradient" or sampler.objective in ("detailed_balance", "sub_trajectory_balance")
    options: dict[str, Any] = {
        "state_flow": flow,
        "n_conditions": 0 if family is None else family.n_conditions,
        "strata": make_strata(config, kernel),
        "geometry": config.target.measure == "normalised",
        "dropout": sampler.dropout if sampler.kind == "prior" else 0.0,
    }
    if sampler.policy == "mlp":
        return Policy(*factors, sampler.hidden, learned, generator, **options)
    own, params = registry.POLICIES.find(sampler.policy), sampler.policy_params
    return PluginPolicy(sampler.policy, own, params, *factors, learned, generator, **options)
