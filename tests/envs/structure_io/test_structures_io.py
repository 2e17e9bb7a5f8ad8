"""Crystals written for other programs and read back by them: pymatgen, ASE, spglib, moyopy."""

import json
import re
from pathlib import Path
from typing import Any

import ase.io
import moyopy
import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.cif import CifParser

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.errors import StructureError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import protostructure_labels, wyckoff_labels
from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text
from oreflow.envs.structure_io.encode import encode_structure, encode_structures
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.structure_io.reading.files import read_structure_files, read_structure_text
from oreflow.envs.structure_io.writers import cif_text, operation_text, poscar_text, spaced_symbol, write_extxyz
from oreflow.envs.symmetry.letter_maps import letter_mappings
from oreflow.envs.symmetry.space_groups import space_group
from tests.support.prototypes import prototypes

pytestmark = [
    pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning"),  # spglib's own
    pytest.mark.filterwarnings("ignore:.*fractional coordinates rounded to ideal values"),  # 0.333333333333 is 1/3
    pytest.mark.filterwarnings("ignore:crystal system .* is not interpreted"),  # ASE's
]
PROTOTYPES = prototypes()
NAMES = [prototype.name for prototype in PROTOTYPES]
SAME = StructureMatcher(ltol=1e-4, stol=1e-4, angle_tol=0.01, scale=False)
LATTICES = {
    "triclinic": [7.1, 8.2, 9.3, 85, 95, 102],
    "monoclinic": [7.1, 8.2, 9.3, 90, 101, 90],
    "orthorhombic": [7.1, 8.2, 9.3, 90, 90, 90],
    "tetragonal": [7.1, 7.1, 9.3, 90, 90, 90],
    "trigonal": [7.1, 7.1, 9.3, 90, 90, 120],
    "hexagonal": [7.1, 7.1, 9.3, 90, 90, 120],
    "cubic": [8.2, 8.2, 8.2, 90, 90, 90],
}


@pytest.fixture(scope="module")
def crystals() -> Crystals:
    encoded, _, errors = encode_structures([prototype.structure for prototype in PROTOTYPES])
    assert errors == [None] * len(PROTOTYPES)
    return encoded


def spglib_number(structure: Structure) -> int:
    cell = (structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers)
    return int(spglib.get_symmetry_dataset(cell, symprec=1e-4).number)


def moyo_number(structure: Structure) -> int:
    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), list(structure.atomic_numbers)
    )
    return int(moyopy.MoyoDataset(cell, symprec=1e-4).number)


def general_crystal(number: int) -> Crystals:
    """Two elements on general positions, a third on position a, atoms apart: the group and no supergroup."""
    group = space_group(number)
    last = len(group.letters) - 1
    for seed in range(number, 100_000, 230):
        rng = np.random.default_rng(seed)
        crystal = Crystals(
            np.array([number]),
            np.array([0, 3]),
            np.array([last, last, 0]),
            np.array([8, 9, 12]),
            np.array([LATTICES[group.crystal_system]], dtype=float),
            np.vstack([rng.random((2, 3)), np.where(np.arange(3) < group.dof[0], 0.07, 0.0)]),
        )
        (structure,) = pymatgen_structures(crystal)
        if (structure.distance_matrix + 9 * np.eye(len(structure))).min() > 0.6:
            return crystal
    raise AssertionError(f"no crystal of group {number} keeps its atoms apart")


@pytest.mark.parametrize("row", range(len(PROTOTYPES)), ids=NAMES)
def test_a_cif_is_read_as_the_same_crystal_by_all(row: int, crystals: Crystals, tmp_path: Path) -> None:
    (text,) = cif_text(crystals[row : row + 1])
    (expected,) = pymatgen_structures(crystals[row : row + 1], primitive=False)
    (by_pymatgen,) = CifParser.from_str(text).parse_structures(primitive=False)
    (tmp_path / "a.cif").write_text(text)
    by_ase = AseAtomsAdaptor.get_structure(ase.io.read(tmp_path / "a.cif"))
    (ours,) = read_structure_files([tmp_path / "a.cif"])
    for structure in (by_pymatgen, by_ase, ours.structure):
        assert len(structure) == len(expected)
        assert SAME.fit(structure, expected)
        assert spglib_number(structure) == moyo_number(structure) == PROTOTYPES[row].space_group
    assert text.startswith(f"data_{crystals.compositions[row : row + 1].reduced().formulas()[0]}\n")
    # One line an orbit, with letter and multiplicity: not P1.
    sites = re.findall(r"^([A-Z][a-z]?)\d+ \1 (\d+) (\w) ", text, flags=re.MULTILINE)
    assert sum(int(multiplicity) for _, multiplicity, _ in sites) == len(expected)
    n_sites = int(crystals.site_offsets[row + 1] - crystals.site_offsets[row])
    assert len(sites) == n_sites


# The groups whose settings go wrong most: axes, origins, rhombohedral and glide e.
SETTINGS = [
    1,
    2,
    3,
    5,
    7,
    9,
    12,
    14,
    15,
    19,
    38,
    39,
    43,
    48,
    64,
    68,
    70,
    85,
    88,
    110,
    126,
    142,
    146,
    148,
    152,
    155,
    161,
]
SETTINGS += [166, 167, 178, 194, 199, 201, 205, 206, 212, 216, 220, 222, 224, 227, 228, 230]


def test_every_setting_is_written_as_others_read_it(tmp_path: Path) -> None:
    for number in SETTINGS:
        crystal = general_crystal(number)
        (text,) = cif_text(crystal, ["x"])
        (expected,) = pymatgen_structures(crystal, primitive=False)
        (ours,) = read_structure_text(text, "cif")
        (tmp_path / "a.cif").write_text(text)
        by_ase = AseAtomsAdaptor.get_structure(ase.io.read(tmp_path / "a.cif"))
        assert spglib_number(expected) == moyo_number(expected) == number
        assert not ours.code, (number, ours.message)
        for structure in (ours.structure, by_ase):
            assert len(structure) == len(expected), number
            distance = expected.lattice.get_all_distances(expected.frac_coords, structure.frac_coords)
            same = np.array(expected.atomic_numbers)[:, None] == np.array(structure.atomic_numbers)
            nearest = np.where(same, distance, 9).min(axis=1)  # the same cell and origin, not only the same crystal
            assert nearest.max() < 1e-4, number


@pytest.mark.parametrize(
    ("number", "symbol"),
    [
        (2, "P -1"),
        (14, "P 1 21/c 1"),
        (15, "C 1 2/c 1"),
        (62, "P n m a"),
        (136, "P 42/m n m"),
        (141, "I 41/a m d"),
        (148, "R -3"),
        (166, "R -3 m"),
        (194, "P 63/m m c"),
        (205, "P a -3"),
        (198, "P 21 3"),
        (225, "F m -3 m"),
        (230, "I a -3 d"),
        (19, "P 21 21 21"),
    ],
)
def test_symbols_are_spaced(number: int, symbol: str) -> None:
    assert spaced_symbol(space_group(number)) == symbol


def test_operations_are_those_of_spglib() -> None:
    for number, hall in ((14, 81), (167, 460), (227, 526), (230, 530)):  # b1; hexagonal axes; origin choice 2
        group = space_group(number)
        ours = {operation_text(w, t) for w, t in zip(group.rotations.tolist(), group.translations.tolist())}
        theirs = spglib.get_symmetry_from_database(hall)
        shifts = np.rint(theirs["translations"] * 24).astype(int) % 24
        assert ours == {operation_text(w, t) for w, t in zip(theirs["rotations"].tolist(), shifts.tolist())}
    assert operation_text([[-1, 0, 0], [1, -1, 0], [0, 0, 1]], [0, 12, 8]) == "-x,x-y+1/2,z+1/3"


def test_block_names_have_no_spaces(crystals: Crystals) -> None:
    texts = cif_text(crystals[:2], ["mp 1\n_evil 'x'", ""])
    assert [text.splitlines()[0] for text in texts] == ["data_mp_1__evil_'x'", "data_crystal"]
    assert [[entry.code for entry in read_structure_text(text, "cif")] for text in texts] == [[""], [""]]


def test_extxyz_is_read_by_ase_with_all_columns(crystals: Crystals, tmp_path: Path) -> None:
    n = len(crystals)
    columns = {
        "log_reward": np.linspace(-3, 3, n),
        "formula": [f"x{i}" for i in range(n)],
        "note": ['two "words" here' for _ in range(n)],
        "maybe": [None, float("nan"), *range(n - 2)],
        "is_unique": [True] * n,
        "Lattice": [1] * n,
    }
    ids = [f"c-{i:04d}" for i in range(n)]
    for primitive in (True, False):
        path = tmp_path / f"{primitive}.extxyz"
        write_extxyz(path, crystals, ids, columns, primitive=primitive)
        frames: list[Any] = ase.io.read(path, ":")
        expected = pymatgen_structures(crystals, primitive=primitive)
        assert len(frames) == n
        for i, (frame, structure) in enumerate(zip(frames, expected)):
            assert frame.pbc.all()
            assert frame.info["id"] == ids[i]
            assert frame.info["log_reward"] == columns["log_reward"][i]
            assert (frame.info["formula"], frame.info["note"]) == (f"x{i}", 'two "words" here')
            assert frame.info["is_unique"] is True or bool(frame.info["is_unique"])
            assert ("maybe" in frame.info) == (i > 1)
            assert frame.info["Lattice_"] == 1
            np.testing.assert_array_equal(frame.cell.array, structure.lattice.matrix)
            assert frame.get_chemical_symbols() == [site.specie.symbol for site in structure]
            np.testing.assert_allclose(frame.positions, structure.cart_coords, atol=1e-9)
        read = list(read_structure_files([path]))
        assert [entry.code for entry in read] == [""] * n
        assert all(SAME.fit(entry.structure, structure) for entry, structure in zip(read, expected))


def test_poscars_are_read_back(crystals: Crystals) -> None:
    for text, structure in zip(poscar_text(crystals, NAMES), pymatgen_structures(crystals)):
        assert SAME.fit(Structure.from_str(text, fmt="poscar"), structure)
        (entry,) = read_structure_text(text, "poscar")
        assert SAME.fit(entry.structure, structure)


def identical(a: Crystals, b: Crystals) -> bool:
    fields = ("space_group", "site_offsets", "letter", "atomic_number", "lattice", "parameters")
    return all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name in fields[4:]) for name in fields)


def test_text_holds_a_crystal_exactly(crystals: Crystals) -> None:
    texts = crystal_to_text(crystals)
    assert identical(crystal_from_text(texts), crystals)
    assert all("\n" not in text for text in texts)
    assert json.loads(texts[0])["sites"][0][2] == []
    assert identical(crystal_from_text([]), crystals[:0])


@settings(max_examples=60)
@given(st.integers(1, 230), st.integers(0, 2**32 - 1), st.booleans())
def test_any_crystal_survives_as_text(number: int, seed: int, geometry: bool) -> None:
    rng = np.random.default_rng(seed)
    group = space_group(number)
    letters = rng.integers(len(group.letters), size=4)
    free = np.arange(3) < group.dof[letters][:, None]
    crystal = Crystals(
        np.array([number]),
        np.array([0, 4]),
        letters,
        rng.integers(1, 119, size=4),
        np.array([[*rng.uniform(2, 20, 3), 90, 90, 90]]) if geometry else np.full((1, 6), np.nan),
        np.where(free, rng.random((4, 3)), 0.0) if geometry else np.full((4, 3), np.nan),
    )
    (text,) = crystal_to_text(crystal)
    assert identical(crystal_from_text([text]), crystal)


GOOD = '{"sg":225,"lattice":[5.0,5.0,5.0,90.0,90.0,90.0],"sites":[["a","Na",[]],["e","Cl",[0.2]]]}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("225", "231"),
        ("225", '"225"'),
        ("225", "true"),
        ('"a"', '"A"'),
        ('"a"', '""'),
        ("Na", "Xx"),
        ("[0.2]", "[]"),
        ("[0.2]", "[NaN]"),
        ("[0.2]", "[1e999]"),
        ("[0.2]", "null"),
        ("5.0,", "0.0,"),
        (",90.0]", "]"),
        ('"sites"', '"site"'),
        ("}", ""),
        (GOOD, "[]"),
        (GOOD, "7"),
        (GOOD, "[" * 10_000),
        (GOOD, ""),
    ],
)
def test_text_that_holds_no_crystal_is_refused_with_its_row(old: str, new: str) -> None:
    assert len(crystal_from_text([GOOD])) == 1
    with pytest.raises(StructureError, match="in row 1"):
        crystal_from_text([GOOD, GOOD.replace(old, new, 1)])


def test_labels(crystals: Crystals) -> None:
    rock_salt = crystal_from_text(['{"sg":225,"lattice":null,"sites":[["b","Cl",null],["a","Na",null]]}'] * 2)
    assert wyckoff_labels(rock_salt) == ["225: Na a, Cl b"] * 2
    assert not rock_salt.has_geometry.any()
    assert protostructure_labels(crystals) == [prototype.protostructure for prototype in PROTOTYPES]


def test_pearson_symbols_are_those_of_moyo() -> None:
    for number in SETTINGS:
        crystal = general_crystal(number)
        (structure,) = pymatgen_structures(crystal)
        cell = moyopy.Cell(
            structure.lattice.matrix.tolist(), structure.frac_coords.tolist(), list(structure.atomic_numbers)
        )
        # moyo writes oS, as IUPAC does since 1985, and counts hexagonal cells; labels of AFLOW have oC and, as
        # A2B3_hR10_167_c_e of corundum shows, count rhombohedral cells.
        expected = moyopy.MoyoDataset(cell, symprec=1e-4).pearson_symbol.replace("S", "C")
        if expected.startswith("hR"):
            expected = f"hR{int(expected[2:]) // 3}"
        assert protostructure_labels(crystal)[0].split("_")[1] == expected


def test_letter_mappings_are_groups_of_permutations() -> None:
    for number in range(1, 231):
        mappings = letter_mappings(number)
        n = len(space_group(number).letters)
        assert all(sorted(mapping) == list(range(n)) for mapping in mappings)
        assert tuple(range(n)) in mappings
        inverses = {tuple(np.argsort(mapping).tolist()) for mapping in mappings}
        assert inverses == set(mappings)


def test_decorations_without_geometry_are_not_written() -> None:
    decoration = crystal_from_text(['{"sg":225,"lattice":null,"sites":[["a","Na",null]]}'])
    with pytest.raises(ValueError, match="without geometry"):
        cif_text(decoration)


def test_rare_elements_and_position_alpha() -> None:
    """Group 47 has more positions than the alphabet has letters."""
    (text,) = crystal_to_text(
        crystal_from_text(['{"sg":47,"lattice":[4,5,6,90,90,90],"sites":[["A","Og",[0.1,0.2,0.3]]]}'])
    )
    crystal = crystal_from_text([text])
    assert crystal.letter.tolist() == [26]
    assert crystal.atomic_number.tolist() == [atomic_number("Og")]
    (cif,) = cif_text(crystal)
    assert " Og 8 A " in cif
    (entry,) = read_structure_text(cif, "cif")
    again = encode_structure(entry.structure)
    assert wyckoff_labels(again) == ["47: Og A"]
