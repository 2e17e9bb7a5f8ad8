"""Names of policies and objectives: built-in ones, entry points, and those that plug-in files register.

Groups of entry points are `oreflow.policies` and `oreflow.objectives`. What a name stands for, and the contract that it
has to keep, is said in `agent.policy.plugin` and `agent.objectives.plugin`.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from oreflow.envs.errors import PluginError
from oreflow.envs.plugins import Registry

POLICIES = Registry("policy", "oreflow.policies", {"mlp": "oreflow.agent.policy.network:Policy"})
_BALANCE = "oreflow.agent.objectives.balance_losses"
_GRADIENT = "oreflow.agent.objectives.soft_policy_gradient"
OBJECTIVES = Registry(
    "objective",
    "oreflow.objectives",
    {
        "trajectory_balance": f"{_BALANCE}:trajectory_balance",
        "sub_trajectory_balance": f"{_BALANCE}:sub_trajectory_balance",
        "detailed_balance": f"{_BALANCE}:detailed_balance",
        "log_partition_variance": f"{_BALANCE}:log_partition_variance",
        "baseline": f"{_GRADIENT}:policy_gradient",
        "gae": f"{_GRADIENT}:policy_gradient",
        "entropic_ppo": f"{_GRADIENT}:entropic_ppo",
        "maximum_likelihood": "oreflow.agent.learners.prior:PriorLearner",
    },
)
Made = TypeVar("Made", bound=Callable[..., Any])


def register_policy(name: str) -> Callable[[Made], Made]:
    """Register a policy's class or factory under `name`, as a decorator, so that `sampler.policy` can name it.

    Raises:
        PluginError: when the name is taken, saying by whom.
    """
    return POLICIES.register(name)


def register_objective(name: str) -> Callable[[Made], Made]:
    """Register an objective under `name`, as a decorator, so that `sampler.objective` can name it.

    Raises:
        PluginError: when the name is taken, saying by whom.
    """
    return OBJECTIVES.register(name)


def check_params(registry: Registry, name: str, params: dict[str, Any]) -> None:
    """Check that an own policy or objective takes these parameters beside its first argument.

    Raises:
        PluginError: naming the parameter it does not take, or needs.
    """
    if name in registry.built_in:
        if params:
            raise PluginError(f"{registry.word} {name!r} takes no {registry.word}_params; leave them out")
        return
    try:
        inspect.signature(registry.find(name)).bind(None, **params)
    except TypeError as error:
        raise PluginError(f"{registry.word} {name!r}: {error}; change sampler.{registry.word}_params") from None
