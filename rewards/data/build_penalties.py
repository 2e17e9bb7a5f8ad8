"""Rebuilds `element_penalties.csv` from pymatgen's tables of scarcity and price.

Run from the repository root, with pymatgen installed: `python rewards/data/build_penalties.py`.
"""

import csv
import re
from pathlib import Path

from pymatgen.analysis import cost, hhi
from pymatgen.core import Element

COLUMNS = (
    "atomic_number",
    "symbol",
    "atomic_mass",
    "hhi_production",
    "hhi_reserve",
    "price_usd_per_kg",
    "price_source",
)


def prices() -> dict[str, tuple[str, str]]:
    """Price and source by symbol; of several entries the cheapest, as pymatgen takes it."""
    out: dict[str, tuple[str, str]] = {}
    with (Path(cost.MODULE_DIR) / "costdb_elements.csv").open(encoding="utf-8") as file:
        for symbol, price, _, reference in csv.reader(file, quotechar="|"):
            fields = dict(re.findall(r'(\w+) = "([^"]*)"', reference))
            if symbol not in out or float(price) < float(out[symbol][0]):
                out[symbol] = price, f"{fields['title']}, {fields['month']} {fields['year']}"
    return out


def rows() -> list[list[str]]:
    """The table's rows, blank where there is no value."""
    indices, priced = hhi.HHIModel().symbol_hhip_hhir, prices()
    out = []
    for z in range(1, 119):
        element = Element.from_Z(z)
        symbol = element.symbol
        pair = [f"{value:g}" for value in indices.get(symbol, ())] or ["", ""]
        out.append([str(z), symbol, repr(float(element.atomic_mass)), *pair, *priced.get(symbol, ("", ""))])
    return out


def main() -> None:
    """Write the table of prices, scarcities and hazards."""
    path = Path(__file__).with_name("element_penalties.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows())


if __name__ == "__main__":
    main()
