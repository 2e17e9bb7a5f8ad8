"""Neighbours of a formula against brute force over the enumerated world."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.envs.composition.completion import CompletedKernel
from oreflow.envs.composition.neighbours import formula_changes, formula_neighbours, read_formula
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.errors import EmptyWorldError, StartError
from tests.envs.composition.test_completion import objects_of
from tests.envs.composition.test_feasibility_oracle import spaces
from tests.support.oracle import all_objects
from tests.support.worlds import SPACES


def distance(one: Mapping[str, int], other: Mapping[str, int]) -> int:
    """Elements exchanged, added or taken out, and counts changed."""
    gone, new = set(one) - set(other), set(other) - set(one)
    return max(len(gone), len(new)) + sum(one[e] != other[e] for e in set(one) & set(other))


def assert_neighbourhood(space: CompositionSpace, formula: dict[str, int], changes: int) -> list[CompletedKernel]:
    expected = {f for f in all_objects(space) if 1 <= distance(formula, dict(f)) <= changes}
    if not expected:
        with pytest.raises(StartError, match="no formula of this world is within"):
            formula_neighbours(space, formula, changes)
        return []
    kernels = formula_neighbours(space, formula, changes)
    found = [f for kernel in kernels for f in objects_of(kernel)]
    assert len(found) == len(set(found))  # the parts are disjoint
    assert set(found) == expected
    for f in found:
        assert len(formula_changes(formula, dict(f))) == distance(formula, dict(f))
    return kernels


@given(spaces(), st.data())
def test_neighbours_are_those_of_brute_force(space: CompositionSpace, data: st.DataObject) -> None:
    try:
        space.rules()
    except EmptyWorldError:
        return
    symbols = data.draw(st.lists(st.sampled_from([*space.elements, "Xe", "K"]), min_size=1, max_size=4, unique=True))
    formula = {symbol: data.draw(st.integers(1, 4)) for symbol in symbols}
    assert_neighbourhood(space, formula, data.draw(st.integers(1, 3)))


@pytest.mark.parametrize("world", ["hard", "hard_canonical", "off", "groups"])
@pytest.mark.parametrize("near", ["Li2O", "Li3PO4", "Li2O2", "Na2S"])
def test_worlds_of_lithium(world: str, near: str, rng: np.random.Generator) -> None:
    formula = read_formula(near)
    sizes = []
    for changes in (1, 2):
        kernels = assert_neighbourhood(SPACES[world], formula, changes)
        sizes.append(sum(kernel.enumerate().n_objects for kernel in kernels))
        for kernel in kernels:
            check_kernel(kernel, rng, 10, "composition")
            states = kernel.sample_uniform(20, rng)
            assert kernel.holds(states).all()
            for other in kernels:
                assert other is kernel or not other.holds(states).any()
    assert all(a <= b for a, b in pairwise(sizes))


def test_changes_are_told_as_a_chemist_would() -> None:
    near = read_formula("LiFePO4")
    assert near == {"Li": 1, "O": 4, "P": 1, "Fe": 1}
    told = {
        "LiMnPO4": ["Fe -> Mn"],
        "Li2FePO4": ["Li1 -> Li2"],
        "FePO4": ["Li removed"],
        "LiFePO4F2": ["F2 added"],
        "NaMn2PO4": ["Li -> Na", "Fe -> Mn2"],
        "LiFePS3": ["O4 -> S3"],
    }
    for formula, changes in told.items():
        assert formula_changes(near, read_formula(formula)) == changes
