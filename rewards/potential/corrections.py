"""The Materials Project's corrections of PBE energies, MP2020 (Wang et al., Sci. Rep. 11, 15496, 2021), by pymatgen.

A potential that was fitted to that project's raw energies gives PBE, and PBE+U for oxides and fluorides of eight
metals, which do not go together and overbind some anions. The corrections make one scale of them; they depend on the
formula and, for oxides, on the distances between oxygen atoms.
"""

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymatgen.core import Structure


def mp2020_correction(structure: "Structure") -> float:
    """What MP2020 adds to the raw PBE(+U) energy of a structure, eV/atom."""
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    compatibility, metals = _tables()
    present = {element.symbol for element in structure.composition.elements}
    # As the project sets up its calculations: +U where fluorine or oxygen is the most electronegative element, which
    # each of them is, fluorine first, wherever it is present.
    anion = next((symbol for symbol in ("F", "O") if symbol in present), "")
    hubbards = {symbol: value for symbol, value in metals.get(anion, {}).items() if symbol in present}
    parameters = {"run_type": "GGA+U" if hubbards else "GGA", "is_hubbard": bool(hubbards), "hubbards": hubbards}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entry = ComputedStructureEntry(structure, 0.0, parameters=parameters)
        adjustments = compatibility.get_adjustments(entry)
    return float(sum(adjustment.value for adjustment in adjustments)) / len(structure)


@cache
def _tables() -> tuple[Any, dict[str, dict[str, float]]]:
    """Pymatgen's implementation, and by anion the metals with their U in eV."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
        from pymatgen.io.vasp.sets import MPRelaxSet

        return MaterialsProject2020Compatibility(check_potcar=False), MPRelaxSet.CONFIG["INCAR"]["LDAUU"]
