"""Names of reward terms: built-in ones, installed entry points (group `oreflow.rewards`), and plug-in files."""

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_args

from oreflow.envs.errors import OreflowError
from oreflow.envs.suggestions import nearest
from oreflow.rewards.contract.guard import guarded, report
from oreflow.rewards.contract.protocol import BatchType, Requires, RewardTerm
from oreflow.rewards.contract.term import Term, as_term
from oreflow.rewards.errors import (
    PluginError,
    RewardContractError,
    RewardParameterError,
    RewardWarning,
    UnknownRewardError,
)

Factory = Callable[..., Any]  # returns a RewardTerm; `check_reward_term` holds it to that

_BUILT_IN = {
    "bond_valence": "oreflow.rewards.terms.structure.bond_valence:BondValence",
    "charge_balance": "oreflow.rewards.terms.composition.charge_balance:ChargeBalance",
    "chgnet_energy": "oreflow.rewards.terms.energy.chgnet_energy:ChgnetEnergy",
    "contact_ratio": "oreflow.rewards.terms.structure.distances:ContactRatio",
    "coordination": "oreflow.rewards.terms.structure.coordination:Coordination",
    "crystal_formation_energy": "oreflow.rewards.terms.energy.crystal_formation_energy:CrystalFormationEnergy",
    "density": "oreflow.rewards.terms.structure.packing:Density",
    "eigensymmetry": "oreflow.rewards.terms.structure.eigensymmetry:Eigensymmetry",
    "electronegativity_balance": "oreflow.rewards.terms.composition.electronegativity_balance:ElectronegativityBalance",
    "energy_above_hull": "oreflow.rewards.terms.energy.energy_above_hull:EnergyAboveHull",
    "formation_energy": "oreflow.rewards.terms.energy.formation_energy:FormationEnergy",
    "free_parameters": "oreflow.rewards.terms.structure.free_parameters:FreeParameters",
    "hazardous_elements": "oreflow.rewards.terms.composition.element_penalties:HazardousElements",
    "novelty": "oreflow.rewards.terms.composition.novelty:Novelty",
    "predicted_property": "oreflow.rewards.terms.energy.predicted_property:PredictedProperty",
    "price": "oreflow.rewards.terms.composition.element_penalties:Price",
    "scarcity": "oreflow.rewards.terms.composition.element_penalties:Scarcity",
    "shortest_distance": "oreflow.rewards.terms.structure.distances:ShortestDistance",
    "smact_validity": "oreflow.rewards.terms.composition.smact_validity:SmactValidity",
    "volume_per_atom": "oreflow.rewards.terms.structure.packing:VolumePerAtom",
    "volume_ratio": "oreflow.rewards.terms.structure.packing:VolumeRatio",
}
_registered: dict[str, Factory] = {}
_tables: list[dict[str, Any]] = []  # what else a plug-in file may fill
_plugins: dict[
    Path, tuple[str, list[tuple[dict[str, Any], str]]]
] = {}  # files loaded: hash of content, what they added
_SLOW_IMPORT_S = 10.0


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


def share_plugins(table: dict[str, Any]) -> dict[str, Any]:
    """Let plug-in files fill a further table of names, and return it; a file edited since replaces what it added."""
    _tables.append(table)
    return table


def _entries() -> list[tuple[dict[str, Any], str]]:
    return [(table, name) for table in (_registered, *_tables) for name in table]


def load_plugin(path: str | Path) -> list[str]:
    """Runs a plug-in file and returns the names it registered.

    A file loaded before is not run again, unless it was edited since: its rewards are then replaced.

    What the file prints or changes on the side while it is imported is undone and reported (`rewards.contract.guard`).

    Raises:
        PluginError: when the file is missing, fails on import, or registers nothing.
    """
    path = Path(path)
    if not path.is_file():
        raise PluginError(f"expected a Python file, found none at {path}")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded, entries = _plugins.pop(path.resolve(), ("", []))
    if loaded == content and all(name in table for table, name in entries):
        _plugins[path.resolve()] = loaded, entries
        return [name for _, name in entries]
    for table, name in entries:
        table.pop(name, None)
    before = {(id(table), name) for table, name in _entries()}
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]  # two files may share a name
    module_name = f"oreflow_plugin_{path.stem}_{place}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"expected a Python file (.py), got {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    started = time.monotonic()
    try:
        with guarded() as found:
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        # Nothing of a broken plug-in stays, so that a mended one can be loaded and others are unaffected.
        del sys.modules[module_name]
        for table, name in _entries():
            if (id(table), name) not in before:
                del table[name]
        what = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        raise PluginError(f"{path} failed on import: {what}") from error
    report(str(path), found)
    seconds = time.monotonic() - started
    if seconds > _SLOW_IMPORT_S:
        warnings.warn(
            f"{path} took {seconds:.0f} s to import; load what is heavy when a term is built, in its __init__",
            RewardWarning,
            stacklevel=2,
        )
    added = sorted((entry for entry in _entries() if (id(entry[0]), entry[1]) not in before), key=lambda e: e[1])
    if not added:
        raise PluginError(f"{path} registered no reward; decorate its class with @rewards.register('name')")
    _plugins[path.resolve()] = content, added
    return [name for _, name in added]


def plugin_files() -> list[Path]:
    """The plug-in files loaded so far, in order."""
    return list(_plugins)


def is_built_in(name: str) -> bool:
    """Whether a reward ships with oreflow."""
    return name in _BUILT_IN and name not in _registered


def names() -> dict[str, str]:
    """All known reward names with where each comes from."""
    known = dict.fromkeys(_BUILT_IN, "built in")
    for name, points in _entry_points().items():
        known.setdefault(name, "entry point " + " and ".join(point.value for point in points))
    return known | dict.fromkeys(_registered, "plug-in")


def _entry_points() -> dict[str, list[EntryPoint]]:
    out: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group="oreflow.rewards"):
        out.setdefault(point.name, []).append(point)
    return out


def factory_of(name: str) -> Factory:
    """What builds a term: its class, or a function.

    Raises:
        UnknownRewardError: with near misses.
        PluginError: when an entry point cannot be loaded, or two packages claim the name.
    """
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    points = _entry_points().get(name, [])
    if len(points) > 1:
        where = ", ".join(point.value for point in points)
        raise PluginError(f"expected one installed reward named {name!r}, got {len(points)}: {where}; uninstall one")
    if points:
        try:
            return points[0].load()
        except (Exception, SystemExit) as error:
            raise PluginError(f"entry point {points[0].value} failed: {type(error).__name__}: {error}") from error
    hint = nearest(str(name), names())
    raise UnknownRewardError(
        f"expected the name of a reward, got {name!r} (one of your own needs --plugin FILE.py); {hint}"
    )


def check_parameters(name: str, params: dict[str, Any] | None = None) -> Factory:
    """The term's factory, if it takes these parameters.

    Raises:
        UnknownRewardError: with near misses.
        RewardParameterError: for a parameter the term does not take, or one that it needs and is not given.
    """
    factory = factory_of(name)
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
    return factory


def path_parameters(name: str) -> tuple[str, ...]:
    """Names of a term's parameters that are files."""
    return tuple(getattr(factory_of(name), "path_params", ()))


def check_identity(term: RewardTerm) -> None:
    """Name, unit, version, citations and requires are there, and of the right type.

    Raises:
        RewardContractError: naming the attribute.
    """
    for attribute, kind in [("name", str), ("unit", str), ("version", str), ("citations", tuple), ("requires", str)]:
        value = getattr(term, attribute, None)
        if not isinstance(value, kind):
            raise RewardContractError(
                f"{type(term).__name__}: expected attribute {attribute!r} of type {kind.__name__}, got {value!r}"
            )
    if term.requires not in get_args(Requires):
        raise RewardContractError(f"{term.name}: expected requires 'composition' or 'structure', got {term.requires!r}")


def make_term(name: str, params: dict[str, Any] | None = None) -> Term:
    """Build a term; one of a plain class gets the defaults of `Term`.

    Raises:
        UnknownRewardError: with near misses.
        RewardParameterError: for a parameter the term does not take, or that it cannot be built with.
        RewardContractError: for a term that lacks what `RewardTerm` asks for, or bears another name.
    """
    factory = check_parameters(name, params)
    found: list[str] = []
    try:
        with contextlib.nullcontext() if is_built_in(name) else guarded() as watched:
            term = factory(**(params or {}))
        found = watched or []
    except OreflowError:
        raise
    except (Exception, SystemExit) as error:
        raise RewardParameterError(f"reward {name!r} cannot be built: {type(error).__name__}: {error}") from error
    report(f"reward {name!r}", found)
    if not isinstance(term, RewardTerm):
        wanted = [a for a in ("name", "unit", "version", "citations", "requires", "__call__") if not hasattr(term, a)]
        raise RewardContractError(f"reward {name!r}: expected a RewardTerm, got one without {', '.join(wanted)}")
    if term.name != name:
        raise RewardContractError(f"expected the term registered as {name!r} to have that name, got {term.name!r}")
    check_identity(term)
    made = as_term(term)
    if made.batch_type not in get_args(BatchType):
        raise RewardContractError(
            f"reward {name!r}: expected batch_type 'arrays' or 'pymatgen', got {made.batch_type!r}"
        )
    return made
