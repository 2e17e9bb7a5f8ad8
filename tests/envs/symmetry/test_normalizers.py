"""The normalizers in the space-group tables against moyopy, spglib's settings and textbook structures."""

import itertools

import numpy as np
import pytest

from oreflow.envs.symmetry.space_groups import (
    LETTERS,
    SpaceGroup,
    space_group,
    space_group_number,
    space_groups_of_system,
)
from tests.support.space_groups import (
    ALL,
    METRICS,
    D,
    close,
    codes,
    group_codes,
    in_units,
    moyo_normalizer,
    orbit,
    spglib_settings,
)

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # on each call of spglib


def normalizer_parts(group: SpaceGroup) -> list[tuple[np.ndarray, ...]]:
    euclidean = (group.normalizer_rotation, group.normalizer_translation)
    axes = (group.axis_rotation, group.axis_translation)
    return [
        (*euclidean, group.letter_map, group.normalizer_matrix, group.normalizer_shift),
        (*axes, group.axis_letter_map, group.axis_matrix, group.axis_shift),
    ]


def test_normalizer_conjugation_maps_every_group_to_itself() -> None:
    for number in ALL:
        group = space_group(number)
        r, t = group.rotations.astype(int), group.translations.astype(int)
        for rotations, translations, *_ in normalizer_parts(group):
            assert (rotations[0] == np.eye(3)).all()
            assert not translations[0].any()
            for w, shift in zip(rotations.astype(int), translations.astype(int)):
                conjugate = w @ r @ np.rint(np.linalg.inv(w)).astype(int)
                moved = t @ w.T + shift - conjugate @ shift
                assert sorted(codes(conjugate, moved).tolist()) == group_codes(group), number
                assert not shift[group.polar].any()
        metric = np.array(METRICS[group.crystal_system])
        for w in group.normalizer_rotation:
            assert w.T @ metric @ metric.T @ w == pytest.approx(metric @ metric.T), "not an isometry of the lattice"


def coset(group: SpaceGroup, w: np.ndarray, shift: np.ndarray) -> int:
    """A number that elements of one coset modulo the group and translations along polar axes share."""
    moved = group.rotations @ shift.astype(int) + group.translations
    return int(codes(group.rotations @ w.astype(int), np.where(group.polar, 0, moved)).min())


def test_normalizers_are_as_large_as_moyopy_finds_them() -> None:
    known = {1: 2, 2: 8, 14: 8, 47: 8, 143: 24, 191: 2, 195: 8, 216: 8, 221: 2, 225: 2, 227: 2, 229: 1}
    for number in ALL:
        group = space_group(number)
        n = len(group.normalizer_rotation)
        assert len({coset(group, *e) for e in zip(group.normalizer_rotation, group.normalizer_translation)}) == n
        assert n == known.get(number, n)
        theirs = moyo_normalizer(number)
        # moyopy counts modulo the translations of the primitive cell, and leaves polar translations out as well.
        n_theirs = len(theirs.stabilizer) * len(theirs.coset_representatives)
        assert n * len(group.rotations) == n_theirs * group.n_centring, number


def test_letter_maps_are_those_of_moyopy() -> None:
    n_exchanged = 0
    for number in ALL:
        group = space_group(number)
        ours = {
            coset(group, *element): letters
            for *element, letters in zip(group.normalizer_rotation, group.normalizer_translation, group.letter_map)
        }
        theirs = moyo_normalizer(number)
        before = np.array([LETTERS.index(wyckoff.letter) for wyckoff in theirs.wyckoffs])
        for element, wyckoffs in theirs.coset_representatives:
            after = [LETTERS.index(wyckoff.letter) for wyckoff in wyckoffs]
            shift = np.where(group.polar, 0, element.origin_shift)
            letters = ours[coset(group, np.array(element.linear), in_units(shift))]
            assert letters[before].tolist() == after, (number, element.as_dict())
            n_exchanged += int((before != after).sum())
    assert n_exchanged > 1000


def test_normalizer_maps_send_points_where_they_say() -> None:
    random = np.random.default_rng(0)
    for number in ALL:
        group = space_group(number)
        for rotations, translations, letter_map, matrices, shifts in normalizer_parts(group):
            assert (np.sort(letter_map, axis=1) == np.arange(len(group.letters))).all()
            for (element, letter), target in np.ndenumerate(letter_map):
                p = random.random(3) * (np.arange(3) < group.dof[letter])
                point = group.basis[letter] @ p + group.origin[letter] / D
                image = rotations[element] @ point + translations[element] / D
                moved = matrices[element, letter] @ p + shifts[element, letter] / D
                assert close(image[None], orbit(group, int(target), moved)).any(), (number, element, letter)
                assert not moved[group.dof[letter] :].any()


@pytest.mark.parametrize(
    ("symbol", "equivalent"),
    [
        ("Fm-3m", ["ab", "c"]),  # rock salt: either ion at the origin
        ("Pm-3m", ["ab", "cd"]),  # perovskite: either cation at the origin
        ("Fd-3m", ["ab", "cd"]),  # spinel: 8a and 8b, 16c and 16d
        ("F-43m", ["abcd"]),  # zinc blende
        ("P6_3/mmc", ["a", "b", "cd"]),  # hexagonal close packing: 2c and 2d
        ("P-1", ["abcdefgh"]),
        ("P4_2/mnm", ["ab", "c", "d"]),
    ],
)
def test_textbook_positions_are_equivalent(symbol: str, equivalent: list[str]) -> None:
    group = space_group(space_group_number(symbol))
    for names in equivalent:
        for name in names:
            assert {LETTERS[target] for target in group.letter_map[:, LETTERS.index(name)]} == set(names)


def test_axes_that_may_be_exchanged_are_those_without_a_setting_of_their_own() -> None:
    # The International Tables list one setting for each of the six orders of the axes, but those that look the same
    # only once; spglib has them all, each origin choice apart. Four groups have twice as many names there: Cmma and
    # Cmmb, Ccca and Cccb, Ibca and Icab, Imma and Immb differ by the origin alone.
    for number in space_groups_of_system("orthorhombic"):
        orders = {type_.choice.lstrip("12") for type_ in spglib_settings()[number]}
        n_distinct = len(orders) // 2 if number in (67, 68, 73, 74) else len(orders)
        assert len(space_group(number).axis_rotation) * n_distinct == 6, number
    for number in {*ALL} - {*space_groups_of_system("orthorhombic")} - {*space_groups_of_system("monoclinic")}:
        assert len(space_group(number).axis_rotation) == 1


def test_monoclinic_axis_maps_are_all_that_keep_glide_and_centring() -> None:
    planes = [np.reshape(m, (2, 2)) for m in itertools.product(range(-2, 3), repeat=4)]
    planes = [m for m in planes if abs(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]) == 1]
    # A primitive group without a glide keeps itself under all, one with a glide along c if c/2 is the same modulo the
    # lattice, C2 if (a + b)/2 is.
    keeps = {
        **dict.fromkeys([3, 4, 6, 10, 11], lambda m: True),
        **dict.fromkeys([7, 13, 14], lambda m: m[0, 1] % 2 == 0),
        **dict.fromkeys([5, 8, 12], lambda m: m[1, 0] % 2 == 0),
    }
    for number, condition in keeps.items():
        group = space_group(number)
        found = [m[np.ix_([0, 2], [0, 2])].tolist() for m in group.axis_rotation]
        assert (group.axis_rotation[:, 1] == [0, 1, 0]).all()
        wanted = [m.tolist() for m in planes if condition(m)]
        assert len(found) * 2 == len(wanted)
        assert all(m in found or (-np.array(m)).tolist() in found for m in wanted)
