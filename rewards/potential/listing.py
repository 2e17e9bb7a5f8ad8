"""The potentials by name: those that ship with oreflow, installed entry points and plug-in files.

A third one is an ASE calculator and a decorator, in a file that `--plugin` names:

    import oreflow

    @oreflow.register_potential("emt", functional="effective medium theory", elements=("Al", "Cu", "Ni"))
    def emt():
        from ase.calculators.emt import EMT

        return EMT()
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.plugins import Registry
from oreflow.rewards.errors import MissingPackageError, PluginError, RewardParameterError, UnknownPotentialError
from oreflow.rewards.potential.protocol import Card, Potential


@dataclass(frozen=True)
class Listed:
    """A potential that can be loaded, and what is known of it before.

    Attributes:
        card: whose energies it gives.
        load: makes it; heavy, and to be called where it is used.
        package, title, extra: what must be installed, how people call it, and the extra of oreflow that installs it;
            "" where nothing is needed.
        references: a CSV with the energies of the elements, which formation energies take; None without.
        error_ev_per_atom: mean absolute error of these on known structures that the fit did not see.
    """

    card: Card
    load: Callable[[], Potential]
    package: str = ""
    title: str = ""
    extra: str = ""
    references: Path | None = None
    error_ev_per_atom: float | None = None


_BUILT_IN = {
    "7net-0": "oreflow.rewards.potential.sevennet:SEVENNET_0",
    "7net-l3i5": "oreflow.rewards.potential.sevennet:SEVENNET_L3I5",
    "chgnet": "oreflow.rewards.potential.chgnet:CHGNET",
    "chgnet-0.2.0": "oreflow.rewards.potential.chgnet:CHGNET_0_2",
    "chgnet-r2scan": "oreflow.rewards.potential.chgnet:CHGNET_R2SCAN",
}
POTENTIALS = Registry("potential", "oreflow.potentials", _BUILT_IN, UnknownPotentialError)


def listed(name: str) -> Listed:
    """What a name stands for; imports nothing heavy.

    Raises:
        UnknownPotentialError: with near misses.
        PluginError: when an entry point cannot be loaded, or registers no potential of this name.
    """
    found = POTENTIALS.find(name)
    if not isinstance(found, Listed):  # an entry point names the function, whose module has registered it
        found = POTENTIALS.own.get(name)
    if not isinstance(found, Listed):
        raise PluginError(f"expected the entry point of {name!r} to be decorated with @register_potential({name!r})")
    return found


def require_potential(name: str, what: str) -> Listed:
    """What a name stands for, if it is installed; imports nothing heavy.

    Args:
        what: who needs it, as the message names it.

    Raises:
        MissingPackageError: when its package is not installed.
    """
    found = listed(name)
    if found.package and importlib.util.find_spec(found.package) is None:
        raise MissingPackageError(
            f"{what} needs {found.title}, which is not installed; pip install 'oreflow[{found.extra}]'"
        )
    return found


def register_potential(
    name: str,
    *,
    elements: Sequence[str],
    functional: str,
    version: str = "",
    correction: Literal["included", "mp2020", "none"] = "none",
    licence: str = "",
    citation: str = "",
    references: str | Path | None = None,
) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Decorator that adds a potential: what is decorated makes an ASE calculator with energy, forces and stress.

    Args:
        elements: symbols of those that it knows.
        functional: of the calculations that it was fitted to.
        version: of its weights; another one starts a folder of relaxations anew.
        correction: "included", "mp2020" or "none", as `Card` says.
        licence, citation: of its weights.
        references: a CSV of the elements' energies with the columns `element` and `reference_energy_ev_per_atom`,
            which formation energies need; `rewards/data/build_potential_references.py` writes one.

    Raises:
        RewardParameterError: for another correction.
        PluginError: when the name is taken.
    """
    if correction not in ("included", "mp2020", "none"):
        raise RewardParameterError(
            f"potential {name!r}: expected a correction of included, mp2020 or none, got {correction!r}"
        )
    known = frozenset(atomic_number(symbol) for symbol in elements)
    card = Card(name, version, functional, correction, licence, citation, known)

    def add(make: Callable[[], Any]) -> Callable[[], Any]:
        def load() -> Potential:
            from oreflow.rewards.potential.ase_calculator import AsePotential

            return AsePotential(make(), card)

        POTENTIALS.register(name)(Listed(card, load, references=None if references is None else Path(references)))
        return make

    return add
