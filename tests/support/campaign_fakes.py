"""A referee for tests of `oreflow campaign`: no atom moves, and its energies are known by hand. Imports little."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

ELEMENTS = ("Al", "Ni", "Cu", "Pd", "Ag", "Au")
REFERENCES = "element,reference_energy_ev_per_atom\n" + "".join(f"{symbol},0\n" for symbol in ELEMENTS)
PLUGIN = """
import oreflow

@oreflow.register_potential("emt_of_campaigns", elements={elements!r}, functional="emt", references={references!r})
def emt():
    from ase.calculators.emt import EMT

    return EMT()
"""


def energy(species: list[str]) -> float:
    """Formation energy in eV/atom of the fake: palladium is good, silver falls apart."""
    return -0.9 * species.count("Pd") / len(species) + 0.1 * species.count("Al") / len(species) - 0.2


def make_fake(log: str) -> Callable[[Any], dict[str, Any]]:
    """Notes each call in a file."""

    def relax(task: Any) -> dict[str, Any]:
        vectors, species, fractional = task
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{' '.join(species)}\n")
        if "Ag" in species:
            return {"status": "unphysical", "reason": "flies apart", "n_steps": 1}
        return {
            "status": "converged",
            "reason": "",
            "vectors": [[float(x) for x in row] for row in vectors],
            "fractional": [[float(x) for x in row] for row in fractional],
            "energy_before_ev_per_atom": -0.1,
            "energy_ev_per_atom": energy(species),
            "max_force_ev_per_a": 0.01,
            "n_steps": 3,
        }

    return relax
