"""Names of policies and objectives: built-in ones, entry points, and those that plug-in files register.

Groups of entry points are `oreflow.policies` and `oreflow.objectives`. What a name stands for, and the contract that it
has to keep, is said in `agent.policy.plugin` and `agent.objectives.plugin`.
"""

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from oreflow.envs.suggestions import nearest
from oreflow.rewards.errors import PluginError
from oreflow.rewards.registry import share_plugins

BUILT_IN = {
    "policy": ("mlp",),
    "objective": (
        *("trajectory_balance", "sub_trajectory_balance", "detailed_balance", "log_partition_variance"),
        *("baseline", "gae", "entropic_ppo"),
    ),
}
_GROUPS = {"policy": "oreflow.policies", "objective": "oreflow.objectives"}
_registered: dict[str, dict[str, Any]] = {kind: share_plugins({}) for kind in BUILT_IN}

Register = Callable[[Callable[..., Any]], Callable[..., Any]]


def register_policy(name: str) -> Register:
    """Register a policy's class or factory under `name`, as a decorator, so that `sampler.policy` can name it.

    Raises:
        PluginError: when the name is taken.
    """
    return _register("policy", name)


def register_objective(name: str) -> Register:
    """Register an objective under `name`, as a decorator, so that `sampler.objective` can name it.

    Raises:
        PluginError: when the name is taken.
    """
    return _register("objective", name)


def _register(kind: str, name: str) -> Register:
    def add(factory: Callable[..., Any]) -> Callable[..., Any]:
        if name in BUILT_IN[kind] or name in _registered[kind]:
            raise PluginError(f"expected a new {kind} name, got {name!r}, which is taken; choose another")
        _registered[kind][name] = factory
        return factory

    return add


def names(kind: str) -> list[str]:
    """List the known names of a kind, "policy" or "objective"."""
    return sorted({*BUILT_IN[kind], *_registered[kind], *(point.name for point in entry_points(group=_GROUPS[kind]))})


def own_names(kind: str) -> set[str]:
    """The names that do not ship with oreflow."""
    return set(names(kind)) - set(BUILT_IN[kind])


def find(kind: str, name: str) -> Callable[..., Any]:
    """Find what an own policy or objective is made by.

    Raises:
        PluginError: when it is not installed, claimed by two packages, or its entry point fails.
    """
    if name in _registered[kind]:
        return _registered[kind][name]
    points = [point for point in entry_points(group=_GROUPS[kind]) if point.name == name]
    if len(points) > 1:
        where = ", ".join(point.value for point in points)
        raise PluginError(f"expected one installed {kind} named {name!r}, got {len(points)}: {where}; uninstall one")
    if points:
        try:
            return points[0].load()
        except (Exception, SystemExit) as error:
            raise PluginError(f"entry point {points[0].value} failed: {type(error).__name__}: {error}") from error
    raise PluginError(
        f"expected the name of a known {kind}, got {name!r} (one of your own needs --plugin FILE.py); "
        f"{nearest(name, names(kind))}"
    )


def check_params(kind: str, name: str, params: dict[str, Any]) -> None:
    """Check that an own policy or objective takes these parameters beside its first argument.

    Raises:
        PluginError: naming the parameter it does not take, or needs.
    """
    if name in BUILT_IN[kind]:
        if params:
            raise PluginError(f"{kind} {name!r} takes no {kind}_params; leave them out")
        return
    try:
        inspect.signature(find(kind, name)).bind(None, **params)
    except TypeError as error:
        raise PluginError(f"{kind} {name!r}: {error}; change sampler.{kind}_params") from None
