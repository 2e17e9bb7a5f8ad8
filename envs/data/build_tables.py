"""Writes the element data and the oxidation-state tables of this folder from the packages that publish them.

    python envs/data/build_tables.py

Needs the test extra (smact). The files are committed; this script is how they came to be, and
tests/envs/chemistry/test_elements.py compares them with the packages again.
"""

import csv
import json
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


def smact_icsd24_states(consensus: int) -> dict[str, list[int]]:
    """What `smact_validity` judges by when it is given no set: its filter of the ICSD 2024 counts."""
    from smact.screening import _get_icsd24_oxidation_dict

    return _get_icsd24_oxidation_dict(include_zero=False, consensus=consensus, commonality="low")


def smact_elements() -> list[list[object]]:
    """What SMACT's rules ask of an element, for the 103 elements that it covers."""
    from smact import Element, metals, ordered_elements
    from smact.screening import MIXED_VALENCE_ELEMENTS

    rows: list[list[object]] = []
    for symbol in ordered_elements(1, 103):
        chi = Element(symbol).pauling_eneg
        rows.append([symbol, "" if chi is None else chi, int(symbol in metals), int(symbol in MIXED_VALENCE_ELEMENTS)])
    return rows


def smact_icsd24_counts() -> list[list[object]]:
    """Reports of each oxidation state in the ICSD of 2024; states without a report are left out."""
    import smact

    entries = json.loads((Path(smact.__file__).parent / "data" / "oxidation_states_icsd24_counts.json").read_text())
    return [[e["element"], e["oxidation_state"], e["results_count"]] for e in entries if e["results_count"]]


def covalent_radii() -> list[list[object]]:
    """Radii of Cordero et al. (2008) in angstrom; elements without one, from Bk on, are left out."""
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
    from pymatgen.core import Element

    return [[Element(symbol).Z, symbol, radius] for symbol, radius in CovalentRadius.radius.items()]


TABLES = {
    "pymatgen_common": lambda: pymatgen_states("common_oxidation_states"),
    "pymatgen_icsd": lambda: pymatgen_states("icsd_oxidation_states"),
    "pymatgen_all": lambda: pymatgen_states("oxidation_states"),
    "smact14": lambda: smact_states("oxidation_states.txt"),
    "smact_icsd16": lambda: smact_states("oxidation_states_icsd.txt"),
    "smact_icsd24": lambda: smact_states("oxidation_states_icsd24_filtered.txt"),
    "smact_icsd24_consensus3": lambda: smact_icsd24_states(consensus=3),
    "smact_pymatgen_sp": lambda: smact_states("oxidation_states_SP.txt"),
    "smact_wiki": lambda: smact_states("oxidation_states_wiki.txt"),
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
    for filename, header, rows in [
        (
            "smact_elements.csv",
            ["symbol", "electronegativity_pauling", "is_metal", "is_mixed_valence"],
            smact_elements(),
        ),
        ("smact_icsd24_counts.csv", ["symbol", "oxidation_state", "n_reports"], smact_icsd24_counts()),
        ("covalent_radii.csv", ["atomic_number", "symbol", "covalent_radius_angstrom"], covalent_radii()),
    ]:
        with (HERE / filename).open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    for name, load in TABLES.items():
        states = load()
        with (HERE / f"oxidation_states_{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["symbol", "oxidation_states"])
            writer.writerows([symbol, " ".join(map(str, values))] for symbol, values in states.items() if values)


if __name__ == "__main__":
    main()
