"""Crystals whose verdicts are known by hand, as tables and files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from pymatgen.core import Lattice, Structure


def rock_salt(cation: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def zinc_blende(cation: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup("F-43m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.25, 0.25, 0.25]])


def perovskite(a: str, b: str, x: str, edge: float) -> Structure:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0]]
    return Structure.from_spacegroup("Pm-3m", Lattice.cubic(edge), [a, b, x], sites)


def rutile(cation: str, anion: str, a: float, c: float) -> Structure:
    sites = [[0, 0, 0], [0.305, 0.305, 0]]
    return Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(a, c), [cation, anion], sites)


def layers(cation: str, inner: str, outer: str) -> Structure:
    """Matlockite: no known crystal has its positions."""
    sites = [[0, 0.5, 0.2], [0, 0, 0], [0, 0.5, 0.65]]
    return Structure.from_spacegroup("P4/nmm", Lattice.tetragonal(3.9, 6.9), [cation, inner, outer], sites)


KNOWN = {
    "mp-1": rock_salt("Na", "Cl", 5.64),
    "mp-2": perovskite("Sr", "Ti", "O", 3.905),
    "mp-3": rock_salt("K", "Cl", 6.29),
    "mp-4": zinc_blende("Zn", "S", 5.41),
    "mp-5": rutile("Ti", "O", 4.594, 2.959),
}

# id: structure, status, energy above the hull, space group within 0.1 A, that of the free track, free energy above it
ROWS: dict[str, tuple[Any, str, float | None, int | None, int | None, float | None]] = {
    "known": (perovskite("Sr", "Ti", "O", 3.93), "converged", 0.0, 221, 221, 0.0),
    "twin": (rock_salt("K", "Br", 6.7), "converged", 0.03, 225, 225, 0.02),
    "substituted": (rock_salt("K", "Br", 6.6), "converged", 0.02, 225, 225, 0.01),
    "unstable": (zinc_blende("Li", "F", 4.3), "converged", 0.3, 216, 1, 0.12),
    "failed": (None, "unphysical", None, None, None, None),
    "new": (layers("Pb", "F", "Cl"), "converged", -0.05, 1, 1, -0.07),
    "between": (rutile("Mg", "F", 4.62, 3.05), "converged", 0.09, 136, 1, 0.05),
    "unfinished": (rock_salt("Rb", "I", 7.3), "not_converged", 0.0, 225, None, None),
    "sulphide": (zinc_blende("Be", "S", 4.87), "converged", 0.08, 216, 216, 0.085),
}


def reference(folder: Path, structures: dict[str, Structure] | None = None) -> Path:
    """A table of known crystals, as lattice and sites."""
    rows = []
    for name, s in (KNOWN if structures is None else structures).items():
        lattice = " ".join(f"{x:.6f}" for x in s.lattice.parameters)
        sites = "; ".join(f"{site.specie} " + " ".join(f"{x:.6f}" for x in site.frac_coords) for site in s)
        rows.append({"material_id": name, "formula": s.composition.formula, "lattice": lattice, "sites": sites})
    path = folder / "known.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def relaxed(folder: Path, rows: Iterable[str] = ROWS, **columns: Any) -> Path:
    """A folder as `oreflow relax` writes it, of named rows; further columns by name."""
    (folder / "cif").mkdir(parents=True, exist_ok=True)
    table = []
    for name in rows:
        structure, status, above, group, free_group, free_above = ROWS[name]
        row: dict[str, Any] = {"candidate_id": name, "status": status, "reason": "", "formula_reduced": ""}
        if structure is not None:
            structure.to(filename=str(folder / "cif" / f"{name}.cif"))
            row |= {
                "formula_reduced": structure.composition.reduced_formula,
                "cif": f"cif/{name}.cif",
                "energy_ev_per_atom": -4.0 + (above or 0.0),
                "energy_above_hull_ev_per_atom": above,
                "space_group_number_after": group,
                "space_group_number_after_tight": group,
                "free_status": "" if free_above is None else "converged",
                "free_energy_above_hull_ev_per_atom": free_above,
                "free_space_group_number": free_group,
            }
        table.append(row)
    frame = pd.DataFrame(table)
    for name, values in columns.items():
        frame[name] = values
    frame.to_csv(folder / "relaxed.csv", index=False)
    return folder / "relaxed.csv"
