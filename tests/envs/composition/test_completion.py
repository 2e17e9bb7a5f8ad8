"""Completed worlds against brute force: exactly the objects of the world that hold what the start says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.envs.composition.completion import complete_composition
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.errors import EmptyWorldError, StartError
from tests.envs.composition.test_feasibility_oracle import spaces
from tests.support.oracle import Formula, all_objects
from tests.support.worlds import SPACES

Named = dict[str, int | None]


def text_of(named: Named, n_more: int, any_more: bool) -> str:
    parts = [f"{symbol}{count or ''}" for symbol, count in named.items()]
    return " ".join([*parts, *["?"] * n_more, *["*"] * any_more])


def completes(formula: Formula, named: Named, n_more: int, any_more: bool) -> bool:
    counts = dict(formula)
    if any(symbol not in counts or count not in (None, counts[symbol]) for symbol, count in named.items()):
        return False
    n_others = len(counts) - len(named)
    return n_others >= n_more if any_more else n_others == n_more


def objects_of(kernel: CompositionKernel) -> list[Formula]:
    world = kernel.enumerate()
    rows = world.states[world.can_stop][:, :-1].tolist()
    return [tuple((e, n) for e, n in zip(kernel.space.elements, row) if n) for row in rows]


def assert_is_the_filter(space: CompositionSpace, objects: set[Formula], *start: object) -> int:
    named, n_more, any_more = start
    expected = {formula for formula in objects if completes(formula, *start)}  # type: ignore[arg-type]
    text = text_of(named, n_more, any_more)  # type: ignore[arg-type]
    if not expected:
        with pytest.raises(StartError):
            complete_composition(space, text)
        return 0
    kernel = complete_composition(space, text)
    found = objects_of(kernel)
    assert len(found) == len(set(found))
    assert set(found) == expected
    return len(found)


@given(spaces(), st.data())
def test_completed_worlds_are_the_filtered_world(space: CompositionSpace, data: st.DataObject) -> None:
    try:
        space.rules()
    except EmptyWorldError:
        return
    objects = all_objects(space)
    symbols = data.draw(st.lists(st.sampled_from(space.elements), min_size=1, max_size=3, unique=True))
    named: Named = {symbol: data.draw(st.one_of(st.none(), st.integers(1, 5))) for symbol in symbols}
    if objects and data.draw(st.booleans()):  # one that can be completed
        formula = data.draw(st.sampled_from(sorted(objects)))
        kept = data.draw(st.lists(st.sampled_from(formula), min_size=1, max_size=3, unique=True))
        named = {symbol: data.draw(st.sampled_from([None, count])) for symbol, count in kept}
    assert_is_the_filter(space, objects, named, data.draw(st.integers(0, 2)), data.draw(st.booleans()))


STARTS: list[tuple[Named, int, bool]] = [
    ({"Li": None, "P": None, "S": None}, 1, False),
    ({"Li": 3, "P": None, "S": 4}, 0, False),
    ({"S": 4}, 1, True),
    ({"Li": None}, 0, True),
    ({}, 2, False),
]


@pytest.mark.parametrize("world", ["hard", "hard_canonical", "off"])
def test_worlds_of_lithium(world: str, rng: np.random.Generator) -> None:
    """The same on larger worlds; every state keeps the contract of kernels, from the start on."""
    space = SPACES[world]
    objects = all_objects(space)
    sizes = []
    for named, n_more, any_more in STARTS:
        if not set(named) <= set(space.elements):
            continue
        sizes.append(assert_is_the_filter(space, objects, named, n_more, any_more))
        if sizes[-1]:
            check_kernel(complete_composition(space, text_of(named, n_more, any_more)), rng, 20, "composition")
    assert max(sizes) > 5


@pytest.mark.parametrize("world", ["hard", "hard_canonical", "groups", "large"])
def test_the_layout_is_that_of_the_world(world: str, rng: np.random.Generator) -> None:
    """States, actions and tokens mean the same: a policy that was trained in the world reads the completed one."""
    base, kernel = CompositionKernel(SPACES[world]), complete_composition(SPACES[world], "Li ? *")
    for name in ("n_actions", "n_backward_actions", "n_tokens", "state_shape"):
        assert getattr(base, name) == getattr(kernel, name)
    states = kernel.sample_uniform(20, rng)
    assert np.array_equal(base.encode(states), kernel.encode(states))
    assert np.array_equal(base.token_factors, kernel.token_factors)
    assert base.describe(states) == kernel.describe(states)
    partial = states.copy()
    partial[:, -1] = 0
    actions = np.where(base.forward_allowed(partial)[:, -1], base.n_actions - 1, -1)
    assert (actions >= 0).all()
    assert np.array_equal(base.step(partial, actions), kernel.step(partial, actions))
    assert kernel.find(kernel.objects(states))[1].all()


def test_only_formulas_that_complete_the_start_are_found() -> None:
    kernel = complete_composition(SPACES["hard"], "Li3 P *")
    objects = CompositionKernel(SPACES["hard"])
    known = objects.objects(objects.enumerate().states[objects.enumerate().can_stop])
    inside = kernel.find(known)[1]
    counts = known.dense()
    assert inside.any()
    assert np.array_equal(inside, (counts[:, 3] == 3) & (counts[:, 15] > 0))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("", "expected a partial object, got none"),
        ("Xx", "expected an element symbol"),
        ("Li3PS4", "cannot read 'Li3PS4'; expected Li (count open), Li3"),
        ("Li0 O", "expected a count from 1 on, got Li0"),
        ("Li O Li", "Li occurs twice"),
        ("Na ?", "Na cannot occur: not among world.elements"),
        ("Li O P S Fe", "5 named make 5 elements, more than world.n_elements allows, 1 to 4"),
        ("Li O P ? ?", "3 named and 2 more make 5 elements"),
        ("Li7 O", "Li7 is outside the world's counts of Li, 1 to 6"),
        ("Li6 O ? P4", "12 atoms at least, more than world.n_atoms allows, 1 to 10"),
        ("Li2 O2", "common divisor 2"),
        ("Li1 O1", "could be without world.neutrality (hard)"),
        ("225: Li", "space groups and sites are those of crystals"),
        ("Li@1a O", "space groups and sites are those of crystals"),
    ],
)
def test_starts_that_cannot_be_completed_say_why(start: str, message: str) -> None:
    with pytest.raises(StartError) as error:
        complete_composition(SPACES["hard"], start)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "start", "message"),
    [
        ({"n_elements": (3, 3)}, "Li O", "make 2 elements, fewer than world.n_elements allows, 3 to 3; add ?"),
        ({"n_atoms": (9, 10)}, "Li2 O1", "has 3 atoms, fewer than world.n_atoms allows, 9 to 10"),
        ({"required": ("P",)}, "Li2 O1", "the world requires P, and nothing can come to it"),
        ({"required_groups": (("P", "S"),)}, "Li2 O1", "the world requires P or S"),
        ({"required": ("P", "S"), "n_elements": (3, 3)}, "Li O ?", "could be without world.required"),
        ({"count_by_element": {"S": (4, 6)}, "n_atoms": (2, 5)}, "Li S ?", "6 atoms at least"),
    ],
)
def test_the_constraint_that_forbids_a_start_is_named(changes: dict, start: str, message: str) -> None:
    base = {"elements": ("Li", "O", "P", "S", "Fe"), "n_elements": (1, 4), "n_atoms": (1, 10), "count": (1, 6)}
    with pytest.raises(StartError) as error:
        complete_composition(CompositionSpace(**(base | changes)), start)
    assert message in str(error.value)
