"""Names of reward terms: built-in ones, installed entry points (group `oreflow.rewards`), and plug-in files."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from envs.elements import nearest
from envs.errors import OreflowError
from rewards.errors import PluginError, RewardContractError, RewardParameterError, UnknownRewardError
from rewards.protocol import RewardTerm

Factory = Callable[..., Any]  # returns a RewardTerm; `check_reward_term` holds it to that

_BUILT_IN = {
    "charge_balance": "rewards.charge_balance:ChargeBalance",
    "electronegativity_balance": "rewards.electronegativity_balance:ElectronegativityBalance",
    "formation_energy": "rewards.formation_energy:FormationEnergy",
    "smact_validity": "rewards.smact_validity:SmactValidity",
}
_registered: dict[str, Factory] = {}


def register(name: str) -> Callable[[Factory], Factory]:
    """Decorator that adds a reward term's class or factory under `name`.

    Raises:
        PluginError: when the name is taken.
    """

    def add(factory: Factory) -> Factory:
        if name in _BUILT_IN or name in _registered:
            raise PluginError(f"expected a new reward name, got {name!r}, which is taken; choose another")
        _registered[name] = factory
        return factory

    return add


def load_plugin(path: str | Path) -> list[str]:
    """Runs a plug-in file and returns the reward names it registered.

    Raises:
        PluginError: when the file is missing, fails on import, or registers nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise PluginError(f"expected a Python file, found none at {path}")
    before = set(_registered)
    module_name = f"oreflow_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"expected a Python file (.py), got {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        # Nothing of a broken plug-in stays, so that a mended one can be loaded and others are unaffected.
        del sys.modules[module_name]
        for name in set(_registered) - before:
            del _registered[name]
        what = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        raise PluginError(f"{path} failed on import: {what}") from error
    added = sorted(set(_registered) - before)
    if not added:
        raise PluginError(f"{path} registered no reward; decorate its class with @rewards.register('name')")
    return added


def names() -> dict[str, str]:
    """All known reward names with where each comes from."""
    known = dict.fromkeys(_BUILT_IN, "built in")
    for point in entry_points(group="oreflow.rewards"):
        known.setdefault(point.name, f"entry point {point.value}")
    return known | dict.fromkeys(_registered, "plug-in")


def _factory(name: str) -> Factory:
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group="oreflow.rewards"):
        if point.name == name:
            try:
                return point.load()
            except Exception as error:
                raise PluginError(f"entry point {point.value} failed: {type(error).__name__}: {error}") from error
    hint = nearest(str(name), names())
    raise UnknownRewardError(
        f"expected the name of a reward, got {name!r} (one of your own needs --plugin FILE.py); {hint}"
    )


def make_term(name: str, params: dict[str, Any] | None = None) -> RewardTerm:
    """Builds a term.

    Raises:
        UnknownRewardError: with near misses.
        RewardParameterError: for a parameter the term does not take, or that it cannot be built with.
        RewardContractError: for a term that lacks what `RewardTerm` asks for, or bears another name.
    """
    factory = _factory(name)
    params = params or {}
    accepted = inspect.signature(factory).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    for key in params:
        if key not in accepted and not takes_any:
            raise RewardParameterError(f"reward {name!r} takes no parameter {key!r}; {nearest(key, accepted)}")
    missing = [
        key
        for key, p in accepted.items()
        if p.default is inspect.Parameter.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and key not in params
    ]
    if missing:
        raise RewardParameterError(f"reward {name!r} needs the parameter {', '.join(missing)}")
    try:
        term = factory(**params)
    except OreflowError:
        raise
    except Exception as error:
        raise RewardParameterError(f"reward {name!r} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(term, RewardTerm):
        wanted = [a for a in ("name", "unit", "version", "citations", "requires", "__call__") if not hasattr(term, a)]
        raise RewardContractError(f"reward {name!r}: expected a RewardTerm, got one without {', '.join(wanted)}")
    if term.name != name:
        raise RewardContractError(f"expected the term registered as {name!r} to have that name, got {term.name!r}")
    return term
