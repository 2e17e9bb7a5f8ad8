"""Magpie features: parity with matminer, invariance, and honesty about unknown properties."""

import warnings

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import atomic_number, presets
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.chemistry.magpie import (
    element_properties,
    element_property_names,
    elements_with_all_properties,
    magpie_feature_names,
    magpie_features,
)


def random_compositions(n: int, seed: int, symbols: tuple[str, ...] = ()) -> list[dict[int, int]]:
    """Compositions of one to seven elements; small counts, so that ties for the most frequent element are common."""
    rng = np.random.default_rng(seed)
    zs = [atomic_number(s) for s in symbols or presets()["mp84"]]
    out = []
    for _ in range(n):
        chosen = rng.choice(zs, size=rng.integers(1, 8), replace=False)
        out.append({int(z): int(c) for z, c in zip(chosen, rng.integers(1, rng.choice([3, 13]), size=len(chosen)))})
    return out


@pytest.fixture(scope="module")
def matminer_magpie():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.composition import ElementProperty

        return ElementProperty.from_preset("magpie", impute_nan=False)


def test_every_number_and_name_is_matminers(matminer_magpie):
    from pymatgen.core import Composition, Element

    dicts = random_compositions(500, seed=1)
    ours, valid = magpie_features(Compositions.from_dicts(dicts))
    compositions = [Composition({Element.from_Z(z): n for z, n in d.items()}) for d in dicts]
    theirs = np.array([matminer_magpie.featurize(c) for c in compositions])
    assert valid.all()
    assert ours.shape == (500, 132)
    assert ours.dtype == np.float64
    assert magpie_feature_names() == tuple(matminer_magpie.feature_labels())
    assert len(set(magpie_feature_names())) == 132
    # The absolute term is for deviations that are zero but for rounding.
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-10)


def test_table_is_matminers_without_imputation(matminer_magpie):
    from pymatgen.core import Element

    theirs = [
        [matminer_magpie.data_source.get_elemental_property(Element.from_Z(z), p) for p in element_property_names()]
        for z in range(1, 119)
    ]
    np.testing.assert_array_equal(element_properties()[1:], np.array(theirs))


def test_the_84_elements_are_in_scope_and_unknown_properties_are_not_imputed():
    known = set(elements_with_all_properties())
    assert {atomic_number(s) for s in presets()["mp84"]} <= known
    assert not {atomic_number(s) for s in ("He", "Ne", "Ar", "Rn", "Fr", "Og")} & known
    batch = Compositions.from_dicts([{11: 1, 17: 1}, {2: 1, 11: 3}, {118: 1, 8: 1}, {}])
    features, valid = magpie_features(batch)
    assert valid.tolist() == [True, False, False, False]
    names = magpie_feature_names()
    helium = dict(zip(names, features[1]))
    # Helium has no melting point or electronegativity in the tables; its atomic number is known all the same. The mode
    # would be sodium's, were the unknown value dropped in silence.
    assert all(np.isnan(helium[f"MagpieData {s} Electronegativity"]) for s in ("minimum", "mean", "mode"))
    assert helium["MagpieData mean Number"] == pytest.approx((2 + 33) / 4)
    assert np.isnan(features[3]).all()


def test_a_row_alone_equals_the_row_in_its_batch():
    dicts = random_compositions(64, seed=2)
    together, _ = magpie_features(Compositions.from_dicts(dicts))
    alone = np.concatenate([magpie_features(Compositions.from_dicts([d]))[0] for d in dicts])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_formula_units_and_order_do_not_matter_to_the_last_bit(factor):
    dicts = random_compositions(200, seed=3)
    scaled = [{z: factor * n for z, n in reversed(d.items())} for d in dicts]
    expected, _ = magpie_features(Compositions.from_dicts(dicts))
    got, _ = magpie_features(Compositions.from_dicts(scaled))
    np.testing.assert_array_equal(got, expected)


def test_single_precision_is_the_rounded_double():
    batch = Compositions.from_dicts(random_compositions(50, seed=4))
    single, _ = magpie_features(batch, np.float32)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, magpie_features(batch)[0].astype(np.float32))
