"""Names of reward terms: built-in ones, installed entry points (group `oreflow.rewards`), and plug-in files."""

import ast
import contextlib
import importlib
import inspect
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from oreflow.envs import plugins
from oreflow.envs.errors import OreflowError
from oreflow.envs.plugins import Registry
from oreflow.envs.registry import WORLDS
from oreflow.envs.suggestions import nearest
from oreflow.rewards.contract.guard import guarded, report
from oreflow.rewards.contract.protocol import CHEMICAL, BatchType, RewardTerm
from oreflow.rewards.contract.term import Term, as_term
from oreflow.rewards.errors import (
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
    "complexity": "oreflow.rewards.terms.composition.complexity:Complexity",
    "contact_ratio": "oreflow.rewards.terms.structure.distances:ContactRatio",
    "coordination": "oreflow.rewards.terms.structure.coordination:Coordination",
    "corner_sharing": "oreflow.rewards.terms.structure.octahedra:CornerSharing",
    "crystal_energy_above_hull": "oreflow.rewards.terms.energy.crystal_energy_above_hull:CrystalEnergyAboveHull",
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
    "prototype_match": "oreflow.rewards.terms.structure.prototype_match:PrototypeMatch",
    "scarcity": "oreflow.rewards.terms.composition.element_penalties:Scarcity",
    "shortest_distance": "oreflow.rewards.terms.structure.distances:ShortestDistance",
    "smact_validity": "oreflow.rewards.terms.composition.smact_validity:SmactValidity",
    "tolerance_factor": "oreflow.rewards.terms.composition.tolerance_factor:ToleranceFactor",
    "volume_per_atom": "oreflow.rewards.terms.structure.packing:VolumePerAtom",
    "volume_ratio": "oreflow.rewards.terms.structure.packing:VolumeRatio",
}
REWARDS = Registry("reward", "oreflow.rewards", _BUILT_IN, UnknownRewardError)
_SLOW_IMPORT_S = 10.0


def register(name: str) -> Callable[[Factory], Factory]:
    """Decorator that adds a reward term's class or factory under `name`.

    Raises:
        PluginError: when the name is taken.
    """
    return REWARDS.register(name)


def load_plugin(path: str | Path) -> list[str]:
    """Run a plug-in file and return the names it registered, of rewards, worlds and others.

    A file loaded before is not run again, unless it was edited since: what it registered is then replaced.

    What the file prints or changes on the side while it is imported is undone and reported (`rewards.contract.guard`).

    Raises:
        PluginError: when the file is missing, fails on import, or registers nothing.
    """
    found: list[str] = []
    seconds = 0.0

    @contextlib.contextmanager
    def watch() -> Iterator[None]:
        nonlocal seconds
        started = time.monotonic()
        with guarded() as changes:
            yield
        found.extend(changes)
        seconds = time.monotonic() - started

    _import_ahead(Path(path))
    added = plugins.load_plugin(path, watch)
    report(str(path), found)
    if seconds > _SLOW_IMPORT_S:
        warnings.warn(
            f"{path} took {seconds:.0f} s to import; load what is heavy when a term is built, in its __init__",
            RewardWarning,
            stacklevel=2,
        )
    return added


def _import_ahead(path: Path) -> None:
    """Imports what a plug-in file imports, so that what other packages do then is not laid at its door."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # said where the file is run
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    with guarded():
        for name in names:
            with contextlib.suppress(Exception):  # said where the file is run
                importlib.import_module(name)


def plugin_files() -> list[Path]:
    """The plug-in files loaded so far, in order."""
    return plugins.plugin_files()


def is_built_in(name: str) -> bool:
    """Whether a reward ships with oreflow."""
    return REWARDS.is_built_in(name)


def names() -> dict[str, str]:
    """All known reward names with where each comes from."""
    return REWARDS.names()


def factory_of(name: str) -> Factory:
    """What builds a term: its class, or a function.

    Raises:
        UnknownRewardError: with near misses.
        PluginError: when an entry point cannot be loaded, or two plug-ins claim the name.
    """
    factory: Factory = REWARDS.find(name)
    return factory


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


def declared_unit(name: str) -> str:
    """The unit of a term as its class says it, without building the term; "" where the term alone knows."""
    unit = getattr(factory_of(name), "unit", "")
    return unit if isinstance(unit, str) else ""


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
    if term.requires not in CHEMICAL and term.requires not in WORLDS.names():
        raise RewardContractError(
            f"{term.name}: expected requires 'composition' or 'structure', got {term.requires!r}; that may be the name "
            "of an own world too, once its --plugin is there"
        )


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
