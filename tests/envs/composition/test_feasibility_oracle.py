"""The masks against exhaustive search: nothing pruned that can be finished, nothing allowed that cannot."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.composition.feasibility import _can_meet_all
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.errors import EmptyWorldError
from tests.support.oracle import Formula, all_objects, all_partials, children

POOL = ("H", "Li", "C", "N", "O", "Na", "Mg", "P", "S", "Cl", "Mn", "Fe", "Cu", "Ag", "Xe")


@st.composite
def spaces(draw: st.DrawFn) -> CompositionSpace:
    elements = draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=5, unique=True))
    low_k = draw(st.integers(1, 3))
    low_a = draw(st.integers(1, 6))
    high_a = draw(st.integers(low_a, 9))
    low_c = draw(st.integers(1, min(2, high_a)))
    subset = st.lists(st.sampled_from(elements), min_size=1, max_size=3, unique=True).map(tuple)
    own_low = draw(st.integers(1, 3))
    return CompositionSpace(
        elements=tuple(elements),
        n_elements=(low_k, draw(st.integers(low_k, 4))),
        n_atoms=(low_a, high_a),
        count=(low_c, draw(st.integers(low_c, 6))),
        count_by_element=draw(
            st.dictionaries(
                st.sampled_from(elements), st.just((own_low, own_low + draw(st.integers(0, 3)))), max_size=1
            )
        ),
        required=draw(st.one_of(st.just(()), subset.map(lambda s: s[:1]))),
        required_groups=tuple(draw(st.lists(subset, max_size=2))),
        neutrality=draw(st.sampled_from(["hard", "hard", "off"])),
        oxidation_table=draw(st.sampled_from(["pymatgen_common", "pymatgen_icsd", "smact14"])),
        mixed_valence=draw(st.booleans()),
        order=draw(st.sampled_from(["free", "canonical"])),
    )


def state_of(kernel: CompositionKernel, formula: Formula) -> np.ndarray:
    state = kernel.initial(1)[0]
    for symbol, count in formula:
        state[kernel.space.elements.index(symbol)] = count
    return state


def assert_masks_are_exact(space: CompositionSpace) -> int:
    objects = all_objects(space)
    if not objects:
        with pytest.raises(EmptyWorldError):
            CompositionKernel(space)
        return 0
    kernel = CompositionKernel(space)
    partials = sorted(all_partials(space, objects))
    allowed = kernel.forward_allowed(np.stack([state_of(kernel, p) for p in partials]))
    known = set(partials)
    for partial, row in zip(partials, allowed):
        assert row[-1] == (partial in objects), f"stop at {partial}"
        moves = np.flatnonzero(row[:-1])
        got = {
            (space.elements[a // kernel.rules.width], int(a % kernel.rules.width) + kernel.rules.count_min)
            for a in moves
        }
        assert got == children(space, partial, known), f"moves from {partial}"
    return len(objects)


@given(spaces())
def test_masks_equal_exhaustive_search(space: CompositionSpace) -> None:
    try:
        space.rules()
    except EmptyWorldError:  # a required element without an oxidation state
        assert not all_objects(space)
        return
    assert_masks_are_exact(space)


@pytest.mark.parametrize("order", ["free", "canonical"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mixed_valence": True},
        {"neutrality": "off"},
        {"required": ("Li",), "required_groups": (("S", "O"), ("Fe", "P"))},
        {"n_elements": (3, 3), "n_atoms": (7, 7)},
        {"count": (2, 5)},
        {"count_by_element": {"O": (4, 4), "Li": (1, 2)}},
    ],
    ids=str,
)
def test_worlds_where_single_elements_decide(changes: dict, order: str) -> None:
    """Scarce worlds: whether a partial object can be finished depends on which elements it has used up."""
    base = {
        "elements": ("Li", "O", "P", "S", "Fe"),
        "n_elements": (1, 4),
        "n_atoms": (1, 12),
        "count": (1, 8),
        "order": order,
    }
    assert assert_masks_are_exact(CompositionSpace(**(base | changes))) > 0


def test_two_words_of_elements() -> None:
    """Element indices above 63 live in the second word of the used-element sets."""
    space = CompositionSpace(
        elements=tuple(symbols()[1:95]),
        n_elements=(2, 2),
        n_atoms=(2, 5),
        count=(1, 4),
        oxidation_table="pymatgen_common",
    )
    assert assert_masks_are_exact(space) > 1000


def test_meeting_sets_equals_brute_force(rng: np.random.Generator) -> None:
    stack = np.zeros((5, 5), dtype=np.uint64)
    outcomes = set()
    for _ in range(300):
        n_sets, budget = int(rng.integers(0, 6)), int(rng.integers(0, 4))
        chosen = [set(rng.choice(8, size=rng.integers(1, 4), replace=False).tolist()) for _ in range(n_sets)]
        avoid = set(rng.choice(8, size=rng.integers(0, 4), replace=False).tolist())
        # spread over both words: members 4 to 7 become bits 64 to 67
        words = np.zeros((max(n_sets, 1), 2), dtype=np.uint64)
        for row, members in enumerate(chosen):
            for member in members:
                words[row, member // 4] |= np.uint64(1) << np.uint64(member % 4)
        x = [sum(1 << (m % 4) for m in avoid if m // 4 == w) for w in (0, 1)]
        expected = any(
            all(set(pick) & members for members in chosen)
            for size in range(budget + 1)
            for pick in itertools.combinations(sorted(set(range(8)) - avoid), size)
        )
        got = _can_meet_all(words, n_sets, np.uint64(x[0]), np.uint64(x[1]), budget, stack)
        assert got == expected
        outcomes.add(expected)
    assert outcomes == {True, False}
