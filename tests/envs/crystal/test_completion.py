"""Completed crystals and neighbours against brute force over an enumerated world."""

import itertools
from collections import Counter

import numpy as np
import pytest

from oreflow.envs.arrays import States
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.crystal.completion import complete_crystal
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.neighbours import ChosenCrystals, CrystalNeighbourhood
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.errors import StartError
from oreflow.envs.objects.partial import Partial, parse_partial
from oreflow.envs.symmetry.space_groups import LETTERS, space_group

SPACE = WyckoffSpace(
    space_groups=[123, 221, 225], elements=("O", "Ti", "Sr"), n_elements=(1, 3), n_atoms=(1, 5), geometry=False
)
Site = tuple[str, str]
Decoration = tuple[int, tuple[Site, ...]]  # space group; (symbol, letter) of each site


@pytest.fixture(scope="module")
def kernel() -> WyckoffKernel:
    return WyckoffKernel(SPACE)


@pytest.fixture(scope="module")
def objects(kernel: WyckoffKernel) -> States:
    return objects_of(kernel)


def objects_of(kernel: WyckoffKernel) -> States:
    world = kernel.enumerate()
    return kernel.step(world.states[world.can_stop], np.full(world.n_objects, kernel.n_actions - 1))


def decoration(kernel: WyckoffKernel, state: np.ndarray) -> Decoration:
    group, _, rest = kernel.describe(state[None])[0].partition(": ")
    return int(group), tuple((part.split()[0], part.split()[1]) for part in rest.split(", ") if part)


def images(group: int, sites: tuple[Site, ...]) -> list[Counter[Site]]:
    """The sites after each element of the normalizer, which all describe one crystal."""
    letter_map = space_group(group).letter_map.tolist()
    return [Counter((symbol, LETTERS[to[LETTERS.index(letter)]]) for symbol, letter in sites) for to in letter_map]


def completes(found: Decoration, partial: Partial) -> bool:
    group, sites = found
    symbols = {symbol for symbol, _ in sites}
    n_others = len(symbols) - len(partial.counts)
    if partial.group not in (None, group) or not set(partial.counts) <= symbols:
        return False
    if n_others < partial.n_more or (n_others > partial.n_more and not partial.any_more):
        return False
    own = space_group(group)
    for _, letter, multiplicity in partial.sites:
        if letter not in own.letters or multiplicity not in (None, own.multiplicity[own.letters.index(letter)]):
            return False
    wanted = Counter((symbol, letter) for symbol, letter, _ in partial.sites)
    return any(not wanted - image for image in images(group, sites))


STARTS = [
    "221: Sr@1a Ti ?",
    "221: Sr@b Ti O",
    "Sr@1a Ti ?",
    "Ti@a O@1b *",
    "123: O@4i *",
    "123: O@2e *",
    "123: Ti@1c O@1b O *",
    "O@g *",
    "225: *",
    "Sr *",
    "? ?",
    "Ti ? ?",
]


def test_completed_worlds_are_the_filtered_world(
    kernel: WyckoffKernel, objects: States, rng: np.random.Generator
) -> None:
    every = [decoration(kernel, state) for state in objects]
    sizes = []
    for start in STARTS:
        expected = np.array([completes(one, parse_partial(start)) for one in every])
        if not expected.any():
            with pytest.raises(StartError, match="start"):
                complete_crystal(kernel, start)
            continue
        completed = complete_crystal(kernel, start)
        found = objects_of(completed)
        assert {row.tobytes() for row in found} == {row.tobytes() for row in objects[expected]}, start
        assert len(found) == expected.sum()
        _, inside, reasons = completed.find(kernel.objects(objects))
        assert np.array_equal(inside, expected), start
        assert all((reason is None) == ok for reason, ok in zip(reasons, expected.tolist()))
        check_kernel(completed, rng, 20, "structure")
        sizes.append(len(found))
    assert max(sizes) > 20


def test_random_sites_of_random_crystals(kernel: WyckoffKernel, objects: States, rng: np.random.Generator) -> None:
    every = [decoration(kernel, state) for state in objects]
    for group, sites in [every[i] for i in rng.integers(0, len(every), 25).tolist()]:
        kept = [sites[i] for i in rng.choice(len(sites), size=rng.integers(0, len(sites) + 1), replace=False)]
        start = f"{group}: " + " ".join([*(f"{symbol}@{letter}" for symbol, letter in kept), "*"])
        expected = sum(completes(one, parse_partial(start)) for one in every)
        assert expected > 0
        assert complete_crystal(kernel, start).enumerate().n_objects == expected, start


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("221: Sr@1z", "space group 221 has no position z, only a to n"),
        ("221: Sr@2a", "position a of space group 221 is 1a, not 2a"),
        ("221: Sr@1a Ti@1a", "position 1a of space group 221 is full"),
        ("Sr@7a *", "no space group of the world has these sites; in the first, position a of space group 123 is 1a"),
        ("221: O@6e *", "its sites have 6 atoms in the primitive cell, more than world.n_atoms allows, 1 to 5"),
        ("220: Sr *", "space group 220 is not among world.space_groups"),
        ("300: Sr *", "expected a space-group number from 1 to 230"),
        ("Sr2 O", "Sr2 has a count, and in crystals sites say how many atoms there are"),
        ("Sr2 Sr@1a", "Sr has a count and a site"),
        ("Na@1a ?", "Na cannot occur: not among world.elements"),
        ("Sr Ti O ?", "make 4 elements, more than world.n_elements allows, 1 to 3"),
        ("221: Sr@1a Ti@1b", "could be without world.neutrality (hard)"),
        ("221: Ti@3c Ti@3d *", "6 atoms"),
    ],
)
def test_starts_that_cannot_be_completed_say_why(kernel: WyckoffKernel, start: str, message: str) -> None:
    with pytest.raises(StartError) as error:
        complete_crystal(kernel, start)
    assert message in str(error.value)


def distance(group: int, sites: tuple[Site, ...], others: tuple[Site, ...]) -> int:
    """Sites exchanged, added or taken out, in the description that needs the fewest."""

    def apart(one: Counter[Site], other: Counter[Site]) -> int:
        gone, new = (Counter(letter for _, letter in part.elements()) for part in (one - other, other - one))
        return sum(max(gone[letter], new[letter]) for letter in gone | new)

    return min(apart(Counter(sites), image) for image in images(group, others))


@pytest.mark.parametrize(
    ("near", "changes"),
    [("221: Sr@1a Ti@1b O@3c", 1), ("221: Sr@1a Ti@1b O@3c", 3), ("123: Ti@1a O@2e", 2), ("225: Sr@4a O@b", 2)],
)
def test_neighbours_are_those_of_brute_force(kernel: WyckoffKernel, objects: States, near: str, changes: int) -> None:
    partial = parse_partial(near)
    given = tuple((symbol, letter) for symbol, letter, _ in partial.sites)
    every = [decoration(kernel, state) for state in objects]
    away = np.array([distance(g, given, sites) if g == partial.group else 99 for g, sites in every])
    expected = (away >= 1) & (away <= changes)
    if not expected.any():
        with pytest.raises(StartError, match=f"within {changes} change"):
            CrystalNeighbourhood(kernel, partial, changes)
        return
    hood = CrystalNeighbourhood(kernel, partial, changes)
    assert len(hood.decorations) == expected.sum()
    assert np.array_equal(np.any([own.holds(objects) for own in hood.kernels], axis=0), expected)
    for own in hood.kernels:
        found = {row.tobytes() for row in objects_of(own)}
        assert found == {row.tobytes() for row in objects[own.holds(objects)]}
    texts = hood.changes(objects[expected])
    assert [len(text) for text in texts] == away[expected].tolist()


def test_neighbours_keep_the_contract_of_kernels(kernel: WyckoffKernel, rng: np.random.Generator) -> None:
    for own in CrystalNeighbourhood(kernel, parse_partial("123: Ti@1a O@2e"), 2).kernels:
        assert isinstance(own, ChosenCrystals)
        check_kernel(own, rng, 10, "structure")


@pytest.mark.parametrize(
    ("near", "message"),
    [
        ("221: Sr@1a Ti", "expected a space group and an element on each site"),
        ("Sr@1a", "expected a space group and an element on each site"),
        ("221: Sr@1a ?", "expected a space group and an element on each site"),
        ("221: Sr@9a", "is 1a, not 9a"),
        ("220: Sr@12a", "space group 220 is not among world.space_groups"),
        ("221: Na@1a", "Na cannot occur"),
    ],
)
def test_what_is_no_crystal_has_no_neighbours(kernel: WyckoffKernel, near: str, message: str) -> None:
    with pytest.raises(StartError) as error:
        CrystalNeighbourhood(kernel, parse_partial(near), 1)
    assert message in str(error.value)


def test_geometry_follows_a_completed_decoration(rng: np.random.Generator) -> None:
    """With a lattice and coordinates: walks from the start end in crystals that have the sites."""
    space = WyckoffSpace(
        space_groups=[186, 225], elements=("Zn", "O", "S"), n_elements=(2, 2), n_atoms=(2, 4), grid=24, length_bin=0.1
    )
    whole = WyckoffKernel(space)
    near = CrystalNeighbourhood(whole, parse_partial("186: Zn@2b O@2b"), 1)
    for own in [complete_crystal(whole, "186: Zn@2b ?"), *near.kernels]:
        check_kernel(own, rng, 10, "structure")
        states = own.initial(20)
        for _ in range(own.max_steps):
            allowed = own.forward_allowed(states)
            actions = np.where(own.is_terminal(states), -1, np.argmax(rng.random(allowed.shape) * allowed, axis=1))
            states = own.step(states, actions)
        assert own.is_terminal(states).all()
        for crystal in (decoration(whole, state) for state in states):
            assert crystal[0] == 186
        if isinstance(own, ChosenCrystals):
            assert own.holds(states).all()
        else:
            assert (whole.objects(states).compositions.dense()[:, 30] > 0).all()


def test_every_order_of_parts_reads_the_same() -> None:
    texts = [" ".join(order) for order in itertools.permutations(["Li3", "P", "?", "*"])]
    assert {(str(sorted(p.counts.items(), key=str)), p.n_more, p.any_more) for p in map(parse_partial, texts)} == {
        ("[('Li', 3), ('P', None)]", 1, True)
    }
    assert parse_partial("Pm-3m: Sr@a, Ti@1b").group == 221
