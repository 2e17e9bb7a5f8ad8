"""Batches of compositions: what arrays they take, and that order within a row does not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.terms.composition.novelty import KnownFormulas

pytestmark = pytest.mark.kind("compositions: order and duplicates")


@given(
    st.lists(st.dictionaries(st.integers(1, 118), st.integers(1, 20), min_size=1, max_size=5), min_size=1), st.data()
)
def test_any_order_within_a_row_gives_the_same_batch(dicts: list[dict[int, int]], data: st.DataObject) -> None:
    right = Compositions.from_dicts(dicts)
    width = right.atomic_numbers.shape[1]
    zs, ns = np.zeros((len(dicts), width), dtype=np.int16), np.zeros((len(dicts), width), dtype=np.int32)
    for row, counts in enumerate(dicts):
        places = data.draw(st.permutations(range(width)))[: len(counts)]
        for place, (z, n) in zip(places, counts.items()):
            zs[row, place], ns[row, place] = z, n
    made = Compositions(zs, ns)
    np.testing.assert_array_equal(made.atomic_numbers, right.atomic_numbers)
    np.testing.assert_array_equal(made.counts, right.counts)


def test_keys_do_not_depend_on_the_order() -> None:
    known = KnownFormulas(Compositions.from_dicts([{3: 2, 8: 1}]))
    assert known.contain(Compositions(np.array([[8, 3]]), np.array([[1, 2]]))).tolist() == [True]


@pytest.mark.parametrize(
    ("zs", "ns", "message"),
    [
        ([[3, 3]], [[1, 2]], r"each element once in a row, got \[3, 3\] in row 0"),
        ([[8, 3, 8]], [[1, 2, 1]], "each element once"),
        ([[3, 8]], [[1, 0]], "with positive counts"),
        ([[3, 0]], [[1, 2]], "with positive counts"),
        ([[3, 8]], [[1, -2]], "with positive counts"),
        ([[119]], [[1]], "from 1 to 118"),
        ([[-1]], [[1]], "from 1 to 118"),
        ([[3]], [[1, 2]], "of one shape"),
    ],
)
def test_what_is_no_composition_is_refused(zs: list, ns: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Compositions(np.array(zs), np.array(ns))
