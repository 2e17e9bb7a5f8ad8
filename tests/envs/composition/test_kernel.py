"""The composition kernel: contract, one object per reduced formula, uniform sampling, compiled against plain Python."""

import math

import numpy as np
import pytest

from oreflow.envs.composition import masks as module
from oreflow.envs.composition import tokens as tokens_module
from oreflow.envs.composition import uniform as uniform_compositions
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.composition.uniform import TooRareError
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.objects.compositions import Compositions
from tests.support.oracle import all_objects
from tests.support.worlds import SPACES, kernel

SMALL = [name for name in SPACES if name != "large"]


@pytest.mark.parametrize("name", SPACES)
def test_contract(name: str, rng: np.random.Generator) -> None:
    check_kernel(kernel(name), rng, n=100)


@pytest.mark.parametrize("name", SMALL)
def test_enumeration_finds_every_reduced_formula_once(name: str) -> None:
    k = kernel(name)
    world = k.enumerate()
    objects = k.objects(world.states[world.can_stop])
    found = [frozenset(zip(zs, ns)) for zs, ns in zip(objects.atomic_numbers.tolist(), objects.counts.tolist())]
    expected = all_objects(k.space)
    assert len(found) == len(set(found)) == len(expected) > 20
    assert len(np.unique(objects.keys(), axis=0)) == len(expected)
    assert (world.child > world.parent).all()
    assert (np.diff(world.parent) >= 0).all()


def test_a_formula_of_k_elements_has_k_factorial_orders() -> None:
    k = kernel("hard")
    world = k.enumerate()
    ways = np.zeros(len(world.states))
    ways[0] = 1
    for parent, child in zip(world.parent, world.child):
        ways[child] += ways[parent]
    sizes = (world.states[:, :-1] > 0).sum(axis=1)
    assert sizes.max() == 4
    assert ways.tolist() == [math.factorial(size) for size in sizes]


@pytest.mark.parametrize("name", ["groups", "hard", "mixed_valence"])
def test_sample_uniform_is_uniform(name: str, rng: np.random.Generator) -> None:
    k = kernel(name)
    world = k.enumerate()
    objects = world.states[world.can_stop].copy()
    objects[:, -1] = 1
    n_per_object = 100
    drawn = k.sample_uniform(n_per_object * len(objects), rng)
    index = {row.tobytes(): i for i, row in enumerate(objects)}
    counts = np.bincount([index[row.tobytes()] for row in drawn], minlength=len(objects))
    chi_square = ((counts - n_per_object) ** 2 / n_per_object).sum()
    # Mean n - 1, standard deviation sqrt(2 (n - 1)): six of them leave one failure in 10^8 for a correct sampler.
    freedom = len(objects) - 1
    assert abs(chi_square - freedom) < 6 * math.sqrt(2 * freedom)


def test_uniform_sampling_gives_up_where_objects_are_too_rare(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uniform_compositions, "_MAX_DRAWS_PER_OBJECT", 2)
    with pytest.raises(TooRareError, match="random count vectors were objects"):
        kernel("large").sample_uniform(100_000, rng)


def test_states_of_inverts_objects(rng: np.random.Generator) -> None:
    k = kernel("large")
    states = k.sample_uniform(50, rng)
    assert np.array_equal(k.states_of(k.objects(states)), states)
    doubled = Compositions(k.objects(states).atomic_numbers, k.objects(states).counts * 2)
    assert np.array_equal(k.states_of(doubled), states)
    with pytest.raises(ValueError, match="FeNa"):
        k.states_of(Compositions.from_dicts([{11: 1, 17: 1}, {26: 1, 11: 1}]))


@pytest.mark.parametrize("neutrality", ["hard", "off"])
@pytest.mark.parametrize("formula", [{3: 5, 8: 1}, {3: 10, 8: 1}, {3: 1, 11: 1, 8: 1}, {3: 1, 26: 1}], ids=str)
def test_states_of_refuses_formulas_outside_the_ranges(formula: dict[int, int], neutrality: str) -> None:
    """A count too large, too many elements, an element of another world."""
    ranges = {"n_elements": (1, 2), "n_atoms": (1, 12), "count": (1, 4)}
    k = CompositionKernel(CompositionSpace(elements=("Li", "Na", "O", "S"), neutrality=neutrality, **ranges))
    assert len(k.states_of(Compositions.from_dicts([{3: 2, 8: 1}]))) == 1
    with pytest.raises(ValueError, match="expected formulas of this world, got 1 others"):
        k.states_of(Compositions.from_dicts([formula]))


def test_large_world_says_why_it_cannot_be_enumerated() -> None:
    k = kernel("large")
    assert k.enumeration_unavailable_reason is not None
    with pytest.raises(ValueError, match="more than the 2,000,000"):
        k.enumerate()


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"elements": ("Fe", "Na")}, "neutrality"),
        ({"elements": ("Na", "Cl"), "n_atoms": (3, 3)}, "n_atoms"),
        ({"elements": ("Na", "Cl", "Fe"), "required": ("Na", "Fe"), "n_elements": (2, 2)}, "n_elements or required"),
    ],
    ids=str,
)
def test_empty_worlds_name_the_constraint_to_relax(changes: dict, culprit: str) -> None:
    with pytest.raises(EmptyWorldError, match=culprit):
        CompositionKernel(CompositionSpace(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_atoms": (5, 2)}, "1 <= low <= high"),
        ({"elements": ("Xx",)}, "expected an element symbol or a preset"),
        ({"elements": ("Na",), "forbidden": ("Na",)}, "expected 1 to 94 elements"),
        ({"required": ("He",)}, "He is required"),
        ({"required_groups": (("He",),)}, "required group He"),
        ({"neutrality": "maybe"}, "hard, soft, off"),
        ({"oxidation_table": "pymatgen"}, "pymatgen_"),
        ({"n_elements": (1, 40), "neutrality": "off"}, "at most 12"),
        ({"n_elements": (1, 9)}, "at most 8 elements per formula, got 9 under hard neutrality"),
    ],
    ids=str,
)
def test_bad_spaces_say_what_was_expected(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CompositionSpace(**changes)


@pytest.mark.parametrize("name", SMALL)
def test_compiled_functions_equal_their_python_source(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every compiled function of the kernel and its feasibility table, run as plain Python on a whole world."""
    from oreflow.envs.compiled import bitsets
    from oreflow.envs.composition import feasibility, rules

    k = kernel(name)
    states = k.enumerate().states
    names = {
        bitsets: ["get_bit", "set_bit", "or_shifted", "overlaps_shifted"],
        rules: ["may_stop"],
        feasibility: ["_can_meet_all", "number_cells", "_fill_free", "_fill_canonical"],
        module: ["workspace", "read_state", "judge_by_sets", "judge_additions", "allow_free", "spread"],
    }
    names[module] += ["allow_unless_barred", "allow_canonical", "_allow_free_rows", "_allow_canonical_rows"]
    python = {name: getattr(home, name).py_func for home, own in names.items() for name in own}
    compiled = module.forward_allowed(k.rules, k.table, states)
    backward, tokens = k.backward_allowed(states), k.encode(states)
    for target in names:
        for name in python.keys() & vars(target).keys():
            monkeypatch.setattr(target, name, python[name])
    with np.errstate(over="ignore"):  # two's complement arithmetic on unsigned words is meant
        table = feasibility.solve.py_func(k.rules, feasibility.NOTHING)
        assert np.array_equal(table.always, k.table.always)
        assert np.array_equal(table.sometimes, k.table.sometimes)
        assert np.array_equal(table.bound, k.table.bound)
        assert np.array_equal(module.forward_allowed(k.rules, table, states), compiled)
    assert np.array_equal(module.backward_allowed.py_func(k.rules, states), backward)
    assert np.array_equal(
        tokens_module._encode.py_func(k.tokens.rules, k.tokens.has_charges, k.n_tokens, states), tokens
    )


def test_serial_and_parallel_masks_agree(rng: np.random.Generator) -> None:
    k = kernel("large")
    states = k.sample_uniform(300, rng)
    states[:, -1] = 0
    row = np.arange(len(states))
    for _ in range(2):
        serial = np.concatenate([module.forward_allowed(k.rules, k.table, state[None]) for state in states])
        parallel = k.forward_allowed(states)
        assert np.array_equal(serial, parallel)
        element = np.argmax(states[:, :-1] > 0, axis=1)
        states = k.unstep(states, element)
    assert serial[row].any()
