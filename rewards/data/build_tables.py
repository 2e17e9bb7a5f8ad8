"""Rebuilds `element_properties.csv` from matminer's copy of the Magpie tables.

Run from the repository root, with matminer installed: `python rewards/data/build_tables.py`.
"""

import csv
import math
from pathlib import Path

from matminer.featurizers.composition import ElementProperty
from pymatgen.core import Element


def main() -> None:
    """Write the tables of this folder."""
    # impute_nan=False: an unknown property must stay blank, matminer would else write the mean over all elements.
    preset = ElementProperty.from_preset("magpie", impute_nan=False)
    path = Path(__file__).with_name("element_properties.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["atomic_number", "symbol", *preset.features])
        for z in range(1, 119):
            element = Element.from_Z(z)
            values = [preset.data_source.get_elemental_property(element, name) for name in preset.features]
            writer.writerow([z, element.symbol, *("" if math.isnan(v) else repr(v).removesuffix(".0") for v in values)])


if __name__ == "__main__":
    main()
