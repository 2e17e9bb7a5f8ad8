"""The alloy world against exhaustive search, its names, and a training that reaches the target."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oreflow
from oreflow.envs.alloy.kernel import AlloyKernel
from oreflow.envs.alloy.names import alloy_names, mixing_entropy
from oreflow.envs.alloy.space import AlloySpace
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.objects.compositions import Compositions
from tests.support.repository import CONFIGS

CANTOR = ("Cr", "Mn", "Fe", "Co", "Ni")
POOL = ("Al", "Ti", "Fe", "Ni", "Zr")
SPACES = {
    "free": AlloySpace(("Al", "Fe", "Ni"), n_steps=6, n_elements=(1, 3)),
    "narrow": AlloySpace(CANTOR, n_steps=10, n_elements=(3, 5), fraction=(0.1, 0.4)),
    "own": AlloySpace(CANTOR, n_steps=8, n_elements=(2, 4), fraction_by_element={"Fe": (0.5, 0.75), "Ni": (0.0, 0.25)}),
    "required": AlloySpace(POOL, n_steps=7, n_elements=(2, 3), required=("Ni", "Zr"), fraction=(0.1, 1.0)),
    "impossible element": AlloySpace(CANTOR, n_steps=4, n_elements=(2, 5), fraction_by_element={"Mn": (0.3, 0.4)}),
}


def brute_force(space: AlloySpace) -> set[tuple[int, ...]]:
    """Every vector of steps that the space's own words allow."""
    found = set()
    ranges = [space.fraction_by_element.get(e, space.fraction) for e in space.elements]
    for steps in itertools.product(range(space.n_steps + 1), repeat=len(space.elements)):
        if sum(steps) != space.n_steps:
            continue
        present = [i for i, n in enumerate(steps) if n]
        if not space.n_elements[0] <= len(present) <= space.n_elements[1]:
            continue
        if any(not ranges[i][0] - 1e-9 <= steps[i] / space.n_steps <= ranges[i][1] + 1e-9 for i in present):
            continue
        if any(not steps[space.elements.index(symbol)] for symbol in space.required):
            continue
        found.add(steps)
    return found


def judge_by_search(kernel: AlloyKernel, alloys: set[tuple[int, ...]]) -> None:
    """Holds masks to what exhaustive search says of every reachable state, and the objects to the alloys."""
    parts = {
        tuple(n if i in kept else 0 for i, n in enumerate(alloy))
        for alloy in alloys
        for r in range(len(alloy) + 1)
        for kept in itertools.combinations(range(len(alloy)), r)
    }
    states = np.array([[*part, 0] for part in sorted(parts)], dtype=np.int16)
    allowed = kernel.forward_allowed(states)
    width = kernel.rules.width
    for state, row in zip(states.tolist(), allowed):
        part = tuple(state[:-1])
        wanted = np.zeros(kernel.n_actions, dtype=np.bool_)
        wanted[-1] = part in alloys
        for e, n in itertools.product(range(len(part)), range(1, width + 1)):
            if not part[e]:
                wanted[e * width + n - 1] = (*part[:e], n, *part[e + 1 :]) in parts
        assert np.array_equal(row, wanted), part
    world = kernel.enumerate()
    stopped = {tuple(state[:-1]) for state in world.states[world.can_stop].tolist()}
    assert stopped == alloys
    assert world.n_objects == kernel.n_alloys == len(alloys)


@pytest.mark.parametrize("name", SPACES)
def test_objects_and_masks_equal_exhaustive_search(name: str, rng: np.random.Generator) -> None:
    kernel, alloys = AlloyKernel(SPACES[name]), brute_force(SPACES[name])
    judge_by_search(kernel, alloys)
    check_kernel(kernel, rng, 50, "composition")


@st.composite
def spaces(draw: st.DrawFn) -> AlloySpace:
    elements = tuple(draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=4, unique=True)))
    low = draw(st.integers(1, len(elements)))
    part = st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.4]), st.sampled_from([0.4, 0.5, 0.8, 1.0]))
    return AlloySpace(
        elements,
        n_steps=draw(st.integers(2, 8)),
        n_elements=(low, draw(st.integers(low, len(elements)))),
        fraction=draw(part),
        fraction_by_element=draw(st.dictionaries(st.sampled_from(elements), part, max_size=2)),
        required=tuple(draw(st.lists(st.sampled_from(elements), max_size=2, unique=True))),
    )


@given(spaces())
@settings(max_examples=60)
def test_random_spaces_equal_exhaustive_search(space: AlloySpace) -> None:
    alloys = brute_force(space)
    if not alloys:
        with pytest.raises(EmptyWorldError):
            AlloyKernel(space)
        return
    judge_by_search(AlloyKernel(space), alloys)


def test_uniform_draws_are_uniform(rng: np.random.Generator) -> None:
    kernel = AlloyKernel(SPACES["required"])
    states = kernel.sample_uniform(20_000, rng)
    drawn, counts = np.unique(states[:, :-1], axis=0, return_counts=True)
    assert {tuple(row) for row in drawn.tolist()} == brute_force(SPACES["required"])
    expected = 20_000 / len(drawn)
    assert ((counts - expected) ** 2 / expected).sum() < len(drawn) + 5 * np.sqrt(2 * len(drawn))


def test_the_equimolar_quinary_is_one_object_and_is_found_again() -> None:
    kernel = AlloyKernel(AlloySpace(CANTOR, n_steps=20))
    states, inside = kernel.find(Compositions.from_dicts([dict.fromkeys(range(24, 29), 1), {26: 3, 28: 1}, {29: 1}]))
    assert inside.tolist() == [True, True, False]
    assert states[0].tolist() == [4, 4, 4, 4, 4, 1]
    assert kernel.describe(states[:2]) == ["CoCrFeMnNi", "Fe75Ni25"]
    assert kernel.objects(states[:1]).counts.tolist() == [[1, 1, 1, 1, 1]]


def test_names_are_those_of_the_field_and_tell_alloys_apart() -> None:
    alloys = [{13: 1, 24: 2, 26: 2, 27: 2, 28: 2}, {24: 1, 25: 4, 26: 4, 27: 1}, {26: 1}]
    assert alloy_names(Compositions.from_dicts(alloys)) == ["Al0.5CoCrFeNi", "Co10Cr10Fe40Mn40", "Fe"]
    kernel = AlloyKernel(SPACES["narrow"])
    world = kernel.enumerate()
    names = alloy_names(kernel.objects(world.states[world.can_stop]))
    assert len(set(names)) == len(names)


def test_entropy_of_mixing() -> None:
    given_ = [dict.fromkeys(range(24, 29), 1), {26: 3, 28: 1}, {26: 1}]
    expected = [np.log(5), -0.75 * np.log(0.75) - 0.25 * np.log(0.25), 0.0]
    assert mixing_entropy(Compositions.from_dicts(given_)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 1}, "expected n_steps from 2 to 1000, got 1"),
        ({"n_elements": (4, 9)}, "with 1 <= low <= high <= 5"),
        ({"fraction": (0.5, 0.2)}, "the smaller first"),
        ({"required": ("Cu",)}, "Cu is required or has its own fraction, but is not among elements"),
    ],
)
def test_bad_spaces(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlloySpace(**({"elements": CANTOR} | changes))


def test_what_cannot_add_up_is_an_empty_world() -> None:
    with pytest.raises(EmptyWorldError, match="do not add up to 1"):
        AlloyKernel(AlloySpace(CANTOR, n_elements=(2, 3), fraction=(0.05, 0.3)))
    with pytest.raises(EmptyWorldError, match="Fe is required, but no multiple of 1/4"):
        AlloyKernel(AlloySpace(CANTOR, n_steps=4, required=("Fe",), fraction_by_element={"Fe": (0.3, 0.4)}))


def test_training_reaches_the_target_and_speaks_of_alloys() -> None:
    overrides = ["world.n_steps=5", "sampler.steps=300", "sampler.hidden=[64]", "run.threads=1"]
    run = oreflow.train(CONFIGS / "tiny_alloys.yaml", overrides=overrides)
    figures = oreflow.exact(run)
    assert figures["total_variation"] < 0.02
    assert abs(figures["log_z_error"]) < 0.02
    candidates = run.sample(300, unique=True)
    assert "CoCrFeMnNi" in set(candidates["alloy"])
    assert not {"charge_neutral", "oxidation_states", "oxidation_table", "electronegativity_ok"} & set(candidates)
    summary = candidates.attrs["summary"]
    assert not any("neutral" in key for key in summary)
    equimolar = candidates["alloy"].str.fullmatch(r"(?:[A-Z][a-z]?)+")
    assert summary["world"]["share_equimolar"] == pytest.approx(equimolar.mean())
