"""Rebuilds `ionic_radii.csv` from pymatgen's copy of Shannon's effective ionic radii (1976).

Run from the repository root, with pymatgen installed: `python rewards/data/build_ionic_radii.py`.
"""

import csv
import re
from pathlib import Path
from typing import Any

from pymatgen.core import Element

HEADER = ["atomic_number", "symbol", "state", "cn_near_6", "r_6_angstrom", "cn_near_12", "r_12_angstrom"]
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV")


def rows() -> list[list[str]]:
    """The ion's radii at the coordination numbers nearest 6 and nearest 12, angstrom, of every ion that has any.

    Of two coordination numbers equally near 6 the smaller counts. Radii of 0 or less, those of the proton and of N5+ in
    nitrates, are left out.
    """
    out = []
    for element in sorted(Element, key=lambda element: element.Z):
        ions = element.data.get("Shannon radii")
        if not isinstance(ions, dict) or element.symbol in ("D", "T"):
            continue
        for state in sorted((state for state in ions if state), key=int):
            radii = _by_coordination(ions[state])
            if radii:
                six = min(radii, key=lambda n: (abs(n - 6), n))
                twelve = min(radii, key=lambda n: (abs(n - 12), n))
                numbers = [six, radii[six], twelve, radii[twelve]]
                out.append([str(element.Z), element.symbol, state, *map(str, numbers)])
    return out


def _by_coordination(ion: dict[str, Any]) -> dict[int, float]:
    """Positive radii by coordination number: high spin of two, and no planar or pyramidal one beside a regular one."""
    out: dict[int, float] = {}
    for label in sorted(ion, key=len, reverse=True):  # regular ones, such as IV, after IVSQ and IVPY
        spins = ion[label]
        radius = spins[min(spins, key=["High Spin", "", "Low Spin"].index)]["ionic_radius"]
        if radius > 0:
            number = _ROMAN.index(re.sub("SQ|PY", "", label)) + 1
            out[number] = radius
    return out


def main() -> None:
    """Write the table of ionic radii."""
    with Path(__file__).with_name("ionic_radii.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows())


if __name__ == "__main__":
    main()
