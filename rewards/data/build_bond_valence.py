"""Rebuilds `bond_valence.csv` from pymatgen's copy of the element parameters of O'Keeffe and Brese (1991).

Run from the repository root, with pymatgen installed: `python rewards/data/build_bond_valence.py`.
"""

import csv
from pathlib import Path

from pymatgen.analysis.bond_valence import BV_PARAMS


def rows() -> list[list[str]]:
    """Atomic number, symbol, size r in angstrom and c of every element that has parameters."""
    elements = sorted(BV_PARAMS, key=lambda element: element.Z)
    return [[str(e.Z), e.symbol, repr(float(BV_PARAMS[e]["r"])), repr(float(BV_PARAMS[e]["c"]))] for e in elements]


def main() -> None:
    """Write the table of bond valence parameters."""
    with Path(__file__).with_name("bond_valence.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["atomic_number", "symbol", "r_angstrom", "c"])
        writer.writerows(rows())


if __name__ == "__main__":
    main()
