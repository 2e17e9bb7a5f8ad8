"""Magpie features of compositions: 22 elemental properties x 6 weighted statistics, compiled.

Definitions and order are those of matminer's `ElementProperty.from_preset("magpie", impute_nan=False)` (Ward et al.,
npj Comput. Mater. 2, 16028, 2016). Nothing is imputed: matminer's own default replaces an unknown property by the mean
over all elements, so its rows for He, Ne, Ar, At, Rn, Fr and everything beyond Cm look complete and are not.
"""

import csv
from collections.abc import Callable
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Bools, Float32s, Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS
from oreflow.envs.objects.compositions import Compositions

STATISTICS = ("minimum", "maximum", "range", "mean", "avg_dev", "mode")


@cache
def _table() -> tuple[tuple[str, ...], Floats]:
    with files("oreflow.rewards").joinpath("data/element_properties.csv").open(encoding="utf-8") as file:
        reader = csv.reader(file)
        names = tuple(next(reader)[2:])
        table = np.full((N_ELEMENTS + 1, len(names)), np.nan)
        for row in reader:
            table[int(row[0])] = [float(cell) if cell else np.nan for cell in row[2:]]
    table.setflags(write=False)
    return names, table


def element_property_names() -> tuple[str, ...]:
    """The 22 elemental properties in matminer's order, such as "MeltingT"."""
    return _table()[0]


def element_properties() -> Floats:
    """Elemental properties, float64 [119, 22], row by atomic number; NaN where unknown. Units: `data/README.md`."""
    return _table()[1]


@cache
def magpie_feature_names() -> tuple[str, ...]:
    """The 132 feature names, spelled and ordered as by matminer, such as "MagpieData mean Electronegativity"."""
    return tuple(f"MagpieData {statistic} {name}" for name in element_property_names() for statistic in STATISTICS)


@cache
def elements_with_all_properties() -> tuple[int, ...]:
    """Atomic numbers of the elements whose 22 properties are all known; compositions of these are valid."""
    return tuple(int(z) for z in np.flatnonzero(~np.isnan(element_properties()).any(axis=1)))


@cache
def _kernel() -> Callable[..., None]:
    # numba takes half a second to import: not at the module's import.
    from oreflow.rewards.chemistry.magpie_compiled import magpie_kernel

    return magpie_kernel


def magpie_features(batch: Compositions, dtype: type[np.floating] = np.float64) -> tuple[Float32s, Bools]:
    """The 132 Magpie features of every composition.

    A pure function of the reduced formula: neither the order of elements nor the number of formula units matters, to
    the last bit.

    Args:
        batch: any compositions; a row without elements is allowed and invalid.
        dtype: of the returned features. The sums run in float64 whatever is returned.

    Returns:
        features: `dtype` [batch, 132] in the units of the properties; NaN in the six statistics of each property that
            one of the row's elements lacks.
        valid: bool [batch], False where any feature is NaN or the row is empty.
    """
    features = np.empty((len(batch), 6 * len(element_property_names())), dtype=dtype)
    valid = np.empty(len(batch), dtype=np.bool_)
    _kernel()(batch.atomic_numbers, batch.counts, element_properties(), features, valid)
    return features, valid
