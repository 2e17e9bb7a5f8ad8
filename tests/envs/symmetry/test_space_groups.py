"""The space-group tables against moyopy, spglib, pyxtal and brute force: operations, letters, orbits, self maps."""

import ast
import csv
import itertools
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import moyopy
import numpy as np
import pytest
import spglib

from oreflow.envs.data import build_wyckoff
from oreflow.envs.symmetry.space_groups import (
    CRYSTAL_SYSTEMS,
    LETTERS,
    SpaceGroup,
    _number_by_symbol,
    space_group,
    space_group_number,
    space_groups_of_system,
)
from tests.support.space_groups import (
    ALL,
    METRICS,
    STANDARD,
    D,
    close,
    codes,
    group_codes,
    in_units,
    moyo_dataset,
    moyo_normalizer,
    orbit,
    probe,
    spglib_settings,
)

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # on each call of spglib


def stays_on(group: SpaceGroup, letter: int, point: np.ndarray) -> bool:
    """Whether the point belongs to the letter: symmetry brings it onto the representative's line, plane, ... ."""
    images = group.rotations @ point + (group.translations - group.origin[letter]) / D
    axes = group.basis[letter][:, : group.dof[letter]].astype(float)
    lattice = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))
    offsets = (images[:, None] % 1 + lattice).reshape(-1, 3)
    rest = offsets - offsets @ (axes @ np.linalg.pinv(axes)).T if axes.size else offsets
    return bool((np.abs(rest).max(1) < 1e-4).any())


def standard_hall_number(number: int) -> int:
    """The spglib setting whose operations are ours."""
    for type_ in spglib_settings()[number]:
        theirs = spglib.get_symmetry_from_database(type_.hall_number)
        if sorted(codes(theirs["rotations"], in_units(theirs["translations"])).tolist()) == group_codes(
            space_group(number)
        ):
            return type_.hall_number
    raise AssertionError(f"spglib has no setting of group {number} with our operations")


def published_orbits() -> dict[int, list[list[str]]]:
    csv.field_size_limit(sys.maxsize)
    spec = find_spec("pyxtal")  # found, not imported: its import takes seconds
    assert spec is not None
    assert spec.origin is not None
    with (Path(spec.origin).parent / "database" / "wyckoff_list.csv").open(newline="") as file:
        return {int(n): ast.literal_eval(text)[::-1] for n, text in csv.reader(file) if text.startswith("[")}


def test_operations_are_those_of_moyopy_and_of_a_setting_of_spglib() -> None:
    for number in ALL:
        group = space_group(number)
        ours = group_codes(group)
        assert (group.rotations[0] == np.eye(3)).all()
        assert not group.translations[0].any()
        theirs = moyopy.operations_from_number(number, setting=STANDARD)
        assert ours == sorted(codes(theirs.rotations, in_units(theirs.translations)).tolist())
        choice = spglib.get_spacegroup_type(standard_hall_number(number)).choice
        # Unique axis b and cell choice 1, hexagonal axes, origin choice 2; the axes in their order.
        assert choice in ("", "b", "b1", "H", "2"), (number, choice)


def test_operations_form_a_group_of_the_order_that_positions_tell() -> None:
    for number in ALL:
        group = space_group(number)
        r, t = group.rotations.astype(int), group.translations.astype(int)
        products = codes(r[:, None] @ r[None], np.einsum("aij,bj->abi", r, t) + t[:, None])
        assert set(products.tolist()) == set(group_codes(group)), number
        assert len(set(group_codes(group))) == len(r)
        assert (group.multiplicity * group.site_symmetry_order == len(r)).all()
        assert (group.letters, group.dof[-1], group.multiplicity[-1]) == (LETTERS[: len(group.dof)], 3, len(r))
        # The primitive vectors span the lattice that the centring translations tell.
        centring = t[(r == np.eye(3)).all((1, 2))]
        assert len(centring) == group.n_centring
        assert {tuple(v) for v in np.rint(group.primitive * D).astype(int) % D} <= {tuple(v) for v in centring}
        assert np.linalg.det(group.primitive) == pytest.approx(1 / group.n_centring)


def test_triplets_and_orbits_are_the_published_ones() -> None:
    random = np.random.default_rng(0)
    for number, positions in published_orbits().items():
        group = space_group(number)
        assert len(positions) == len(group.letters)
        for letter, triplets in enumerate(positions):
            values = dict(zip("xyz", random.random(3)))
            programs = [re.sub(r"(\d)([xyz])", r"\1*\2", triplet) for triplet in triplets]
            theirs = np.array([eval(program, {}, values) for program in programs])
            used = [values[name] for name in "xyz" if name in triplets[0]]
            assert len(used) == group.dof[letter]
            ours = orbit(group, letter, np.array([*used, 0, 0, 0])[:3])
            assert ours[0] == pytest.approx(theirs[0])
            assert (close(ours, theirs).sum(0) == 1).all()
            assert len(ours) == len(theirs) == group.multiplicity[letter]


def test_positions_are_those_of_moyopy() -> None:
    for number in ALL:
        data, group = moyo_dataset(number), space_group(number)
        assert data.number == number
        theirs = {w.letter: w for w in moyo_normalizer(number).wyckoffs}
        assert [(w.letter, w.multiplicity, w.site_symmetry) for w in (theirs[name] for name in group.letters)] == list(
            zip(group.letters, group.multiplicity.tolist(), group.site_symmetry)
        )


def check_letters(number: int, standard: np.ndarray, letters: list[str]) -> None:
    """Letters that a symmetry finder reports for points in its own standard cell."""
    group = space_group(number)
    _, numbers, ours = probe(number)
    first = np.flatnonzero(np.diff(numbers, prepend=0))
    assert {letters[site] for site in first} == set(group.letters)
    for site in first:
        letter = LETTERS.index(letters[site])
        assert stays_on(group, letter, standard[site]), (number, letters[site])
        assert group.multiplicity[letter] == group.multiplicity[ours[site]]


def check_round_trip(number: int) -> None:
    points, numbers, _ = probe(number)
    data = moyo_dataset(number)
    # The finders may move the origin by an element of the normalizer: compare in the cell that they chose.
    moved = (points - np.array(data.std_origin_shift)) @ np.linalg.inv(data.std_linear).T
    check_letters(number, moved, list(data.wyckoffs))

    group = space_group(number)
    cell = (METRICS[group.crystal_system], points, numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=1e-5, hall_number=standard_hall_number(number))
    assert dataset is not None
    assert dataset.number == number
    check_letters(number, points @ dataset.transformation_matrix.T + dataset.origin_shift, list(dataset.wyckoffs))


@pytest.mark.parametrize("system", CRYSTAL_SYSTEMS)
def test_letters_survive_a_round_trip_through_moyopy_and_spglib(system: str) -> None:
    for number in space_groups_of_system(system):
        check_round_trip(number)


def first_of_class(values: np.ndarray) -> np.ndarray:
    """int [row], the number of the first row equal to each row."""
    _, first, inverse = np.unique(values, axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def check_self_maps(group: SpaceGroup, letter: int) -> int:
    """Brute force: equal orbits and related parameters are the same relation on the grid. Returns its points."""
    dof = int(group.dof[letter])
    grid = np.zeros((D**dof, 3), dtype=np.int64)
    if dof:
        grid[:, :dof] = list(itertools.product(range(D), repeat=dof))
    points = grid @ group.basis[letter].astype(int).T + group.origin[letter]
    images = np.einsum("oij,pj->poi", group.rotations.astype(int), points) + group.translations
    orbits = np.sort(images % D @ D ** np.arange(3), axis=1)
    # On a position of higher symmetry the orbit has fewer points; there the maps say nothing.
    generic = 1 + (np.diff(orbits, axis=1) != 0).sum(1) == group.multiplicity[letter]
    maps = slice(group.self_start[letter], group.self_start[letter + 1])
    matrices, shifts = group.self_matrix[maps].astype(int), group.self_shift[maps]
    assert (matrices[0] == np.diag(np.arange(3) < dof)).all()
    assert not shifts[0].any()
    assert not matrices[:, dof:].any()
    assert not matrices[:, :, dof:].any()
    assert not shifts[:, dof:].any()
    assert len(np.unique(np.concatenate([matrices.reshape(-1, 9), shifts], axis=1), axis=0)) == len(matrices)
    related = (np.einsum("mij,pj->pmi", matrices, grid) + shifts) % D @ D ** np.arange(3)
    assert (first_of_class(orbits[generic]) == first_of_class(related[generic].min(1, keepdims=True))).all()
    return int(generic.sum())


def test_self_maps_relate_exactly_the_parameters_of_equal_orbits() -> None:
    for number in ALL:
        group = space_group(number)
        for letter in range(len(group.letters)):
            if group.dof[letter] < 3 or len(group.rotations) <= 4:
                assert check_self_maps(group, letter), (number, letter)


def test_polar_axes() -> None:
    polar = {1: "xyz", 3: "y", 4: "y", 6: "xz", 9: "xz", 25: "z", 75: "z", 146: "z", 186: "z", 2: "", 195: "", 216: ""}
    for number, names in polar.items():
        assert "".join(itertools.compress("xyz", space_group(number).polar)) == names
    point_groups = ("1", "2", "m", "mm2", "4", "4mm", "3", "3m", "6", "6mm")
    for number in ALL:
        point_group = spglib_settings()[number][0].pointgroup_international
        assert space_group(number).polar.any() == (point_group in point_groups), number


def test_symbols_systems_and_centrings_are_those_of_spglib() -> None:
    for number in ALL:
        group, theirs = space_group(number), moyopy.SpaceGroupType(number)
        assert (group.number, group.symbol) == (number, theirs.hm_short.replace(" ", ""))
        assert group.crystal_system == theirs.crystal_system.lower()
        assert number in space_groups_of_system(group.crystal_system)
        assert group.centring == group.symbol[0]
        for text in (number, str(number), group.symbol, theirs.hm_short, group.symbol.replace("_", "")):
            assert space_group_number(text) == number
        assert group.symbol in [type_.international_short for type_ in spglib_settings()[number]]
    assert len(_number_by_symbol()) == 235
    assert space_group_number("Cmca") == 64


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("Fm3m", "'Fm-3m'"),
        ("P2_1/x", "'P2_1/c'"),
        (231, "from 1 to 230, got 231"),
        (-1, "from 1 to 230, got -1"),
        (True, "got True"),
        ("", "such as 'Fm-3m'"),
    ],
)
def test_unknown_groups_are_refused_with_near_misses(wanted: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        space_group_number(wanted)


def test_wrong_numbers_and_systems_are_refused() -> None:
    for number in (0, 231, 2.0, "2", None):
        with pytest.raises(ValueError, match="expected a space-group number from 1 to 230"):
            space_group(number)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'cubic'"):
        space_groups_of_system("cubik")


def test_groups_are_loaded_once_and_read_only() -> None:
    group = space_group(225)
    assert group is space_group(225)
    arrays = {name: value for name, value in vars(group).items() if isinstance(value, np.ndarray)}
    assert len(arrays) == 24
    for array in arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.slow
def test_the_file_is_what_the_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = build_wyckoff.HERE / "wyckoff.npz"
    monkeypatch.setattr(build_wyckoff, "HERE", tmp_path)
    build_wyckoff.main()
    with np.load(shipped) as ours, np.load(tmp_path / "wyckoff.npz") as new:
        assert ours.files == new.files
        for name in ours.files:
            assert ours[name].dtype == new[name].dtype
            assert (ours[name] == new[name]).all(), name
