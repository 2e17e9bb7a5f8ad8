"""Writes elements.csv and the oxidation-state tables of this folder from the packages that publish them.

    python envs/data/build_tables.py

Needs the test extra (smact). The files are committed; this script is how they came to be, and
tests/test_elements.py compares them with the packages again.
"""

import csv
import math
import warnings
from pathlib import Path

HERE = Path(__file__).parent


def pymatgen_states(attribute: str) -> dict[str, list[int]]:
    from pymatgen.core import Element

    elements = [Element.from_Z(z) for z in range(1, 119)]
    return {element.symbol: sorted(set(getattr(element, attribute))) for element in elements}


def smact_states(filename: str) -> dict[str, list[int]]:
    import smact

    lines = (Path(smact.__file__).parent / "data" / filename).read_text().splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {symbol: sorted({int(state) for state in states}) for symbol, *states in rows}


TABLES = {
    "pymatgen_common": lambda: pymatgen_states("common_oxidation_states"),
    "pymatgen_icsd": lambda: pymatgen_states("icsd_oxidation_states"),
    "pymatgen_all": lambda: pymatgen_states("oxidation_states"),
    "smact14": lambda: smact_states("oxidation_states.txt"),
    "smact_icsd24": lambda: smact_states("oxidation_states_icsd24_filtered.txt"),
}


def main() -> None:
    from pymatgen.core import Element

    with (HERE / "elements.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["atomic_number", "symbol", "group", "electronegativity_pauling"])
        for z in range(1, 119):
            element = Element.from_Z(z)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pymatgen warns for every element without a value
                x = float(element.X)
            writer.writerow([z, element.symbol, element.group, "" if math.isnan(x) else x])
    for name, load in TABLES.items():
        states = load()
        with (HERE / f"oxidation_states_{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["symbol", "oxidation_states"])
            writer.writerows([symbol, " ".join(map(str, values))] for symbol, values in states.items() if values)


if __name__ == "__main__":
    main()
