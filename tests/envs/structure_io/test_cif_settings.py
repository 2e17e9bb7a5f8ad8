"""Axes and origin of a CIF: all 530 settings of spglib's database, symbols as files have them, two origins."""

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import spglib

from oreflow.envs.structure_io.reading.cif_symmetry import affine, settings_of
from oreflow.envs.structure_io.reading.files import read_structure_text
from tests.support.cifs import cif

pytestmark = pytest.mark.kind("CIF: axes, origin, symbols")

SITE = np.array([0.0934, 0.2571, 0.1683])  # in general position in every setting
SYMBOL, HALL = "_symmetry_space_group_name_H-M", "_symmetry_space_group_name_Hall"
NUMBER, XYZ = "_symmetry_Int_Tables_number", "loop_\n_symmetry_equiv_pos_as_xyz\n"


def read(text: str) -> Any:
    (entry,) = read_structure_text(text, "cif", "x")
    return entry


@cache
def setting(hall_number: int) -> tuple[Any, np.ndarray, np.ndarray, dict[str, float]]:
    """Type, rotations and translations of spglib's database, and a cell that the rotations keep."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = spglib.get_spacegroup_type(hall_number)
        database = spglib.get_symmetry_from_database(hall_number)
    assert group is not None
    assert database is not None
    rotations = np.asarray(database["rotations"], dtype=float)
    start = 16 * np.array([[150.0, 11.0, 7.0], [11.0, 190.0, -9.0], [7.0, -9.0, 230.0]])
    metric = np.mean([w.T @ start @ w for w in rotations], axis=0)
    a, b, c = np.sqrt(np.diag(metric))
    angles = np.degrees(np.arccos([metric[1, 2] / b / c, metric[0, 2] / a / c, metric[0, 1] / a / b]))
    cell = dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), [a, b, c, *angles]))
    return group, rotations, np.asarray(database["translations"]), cell


def triplet(rotation: np.ndarray, shift: np.ndarray) -> str:
    rows = []
    for row, t in zip(np.rint(rotation).astype(int).tolist(), np.rint(np.asarray(shift) * 24).astype(int).tolist()):
        rows.append(
            "".join(f"{n:+d}*{x}".replace("1*", "") for n, x in zip(row, "xyz") if n) + (f"+{t}/24" if t else "")
        )
    return "'" + ",".join(rows) + "'"


@pytest.mark.parametrize("given", ["Hall symbol", "Hall symbol and number", "operations and number"])
def test_all_530_settings(given: str) -> None:
    """One atom in general position: its images are those of spglib's operations."""
    wrong = []
    for hall_number in range(1, 531):
        group, rotations, translations, cell = setting(hall_number)
        symmetry = f"{HALL} '{group.hall_symbol}'"
        if given == "operations and number":
            symmetry = "\n".join([XYZ.strip(), *map(triplet, rotations, translations)])
        if given.endswith("number"):
            symmetry = f"{NUMBER} {group.number}\n{symmetry}"
        x, y, z = SITE
        entry = read(cif(f"O1 O {x} {y} {z} 1\n", symmetry, **cell))
        right = np.sort((rotations @ SITE + translations).round(6) % 1.0, axis=0)
        found = None if entry.structure is None else np.sort(entry.structure.frac_coords.round(6) % 1.0, axis=0)
        if found is None or found.shape != right.shape or np.abs(found - right).max() > 1e-5 or entry.notes:
            wrong.append((hall_number, group.hall_symbol, entry.message, entry.notes))
    assert wrong == []


def test_all_530_full_symbols_with_their_choice() -> None:
    """The full symbol names the axes; with the origin or the axes of rhombohedral groups behind a colon the setting."""
    wrong = []
    for hall_number in range(1, 531):
        group, rotations, translations, _ = setting(hall_number)
        choice = f":{group.choice}" if group.choice[:1] in ("1", "2", "H", "R") else ""
        found = settings_of([], "", f"{group.international_full}{choice}", "", "", [])
        right = as_set(rotations, translations)
        names_one = len(found) == 1 or "e" in group.international_full  # e stands for either of two glide planes
        if not names_one or right not in [as_set(*affine(each.operations)) for each in found]:
            wrong.append((hall_number, group.international_full, [each.name for each in found]))
    assert wrong == []


def as_set(rotations: np.ndarray, translations: np.ndarray) -> set[tuple[int, ...]]:
    rows = zip(np.rint(rotations).astype(int), np.rint(np.asarray(translations) * 24).astype(int) % 24)
    return {(*rotation.ravel().tolist(), *shift.tolist()) for rotation, shift in rows}


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("C 2/m", "C 1 2/m 1"),
        ("P 21/n", "P 1 21/n 1"),
        ("P2_1/n", "P 1 21/n 1"),
        ("P 1 2_1/c 1", "P 1 21/c 1"),
        ("P 21/c:b1", "P 1 21/c 1"),
        ("P 2_1/c:b2", "P 1 21/n 1"),
        ("I 2/a", "I 1 2/a 1"),
        ("B 2/b", "B 1 1 2/b"),
        ("P 1 1 21/b", "P 1 1 21/b"),
        ("P b n m", "P b n m"),
        ("F m 3 m", "F m -3 m"),
        ("P a 3", "P a -3"),
        ("C m c a", "C m c a"),
        ("C m c e", "C m c a"),
        ("A b m 2", "A b m 2"),
        ("F 4/m -3 2/m", "F m -3 m"),
        ("P 2_1/n 2_1/m 2_1/a", "P n m a"),
        ("p63/mmc", "P 63/m m c"),
        ("F d -3 m S", "F d -3 m:1"),
        ("F d -3 m Z", "F d -3 m:2"),
        ("F d 3 m :2", "F d -3 m:2"),
        ("F 41/d -3 2/m (origin choice 2)", "F d -3 m:2"),
        ("R -3 m H", "R -3 m:H"),
        ("R-3mR", "R -3 m:R"),
        ("R -3 c :h", "R -3 c:H"),
        ("A -1", "A -1"),
        ("F 4/m m m", "F 4/m m m"),
    ],
)
def test_symbols_in_use(symbol: str, name: str) -> None:
    assert [each.name for each in settings_of([], "", symbol, "", "", [])] == [name]


@pytest.mark.parametrize(
    ("symbol", "names"), [("F d -3 m", ["2", "1"]), ("R -3 m HR", ["H", "R"]), ("227", ["2", "1"])]
)
def test_symbols_that_leave_a_choice(symbol: str, names: list[str]) -> None:
    given = ("", symbol) if symbol.isdigit() else (symbol, "")
    assert [each.name.partition(":")[2] for each in settings_of([], "", *given, "", [])] == names
    assert len(settings_of([], "", *given, names[1], [])) == 1


def test_unknown_symbols_are_refused_with_the_nearest_one() -> None:
    entry = read(cif(symmetry=f"{SYMBOL} 'F m -3 q'"))
    assert entry.code == "unknown_space_group"
    assert "F m -3" in entry.message
    notes: list[str] = []
    assert settings_of([], "X 9 9", "P -1", "", "", notes)[0].name == "P -1"
    assert "X 9 9" in notes[0]


CUBE = {"a": 3.567, "b": 3.567, "c": 3.567}
CARBON = "C1 C .125 .125 .125 1\n"


@pytest.mark.parametrize(
    ("further", "reason"),
    [
        ("_space_group_IT_coordinate_system_code 2", ""),
        ("_chemical_formula_sum 'C'\n_cell_formula_units_Z 8", "by the formula and Z"),
        ("_exptl_crystal_density_diffrn 3.51(1)", "by the density"),
        ("_space_group_IT_number 227", "assumed"),
    ],
)
def test_diamond_of_the_second_origin(further: str, reason: str) -> None:
    entry = read(cif(CARBON, f"{SYMBOL} 'F d -3 m'\n{further}", **CUBE))
    assert entry.structure.formula == "C8"
    assert entry.structure.density == pytest.approx(3.52, abs=0.01)
    assert (reason in entry.notes[0]) if reason else entry.notes == ()


def test_multiplicities_tell_the_origin() -> None:
    """Spinel of the first origin, by 8, 16 and 32; read in the second one its atoms would be others."""
    sites = "Mg1 Mg 0 0 0 1 8\nAl1 Al .625 .625 .625 1 16\nO1 O .387 .387 .387 1 32\n"
    text = cif(sites, f"{SYMBOL} 'F d -3 m'", a=8.08, b=8.08, c=8.08)
    text = text.replace("_atom_site_occupancy\n", "_atom_site_occupancy\n_atom_site_symmetry_multiplicity\n")
    entry = read(text)
    assert entry.structure.composition.reduced_formula == "MgAl2O4"
    assert "F d -3 m:1" in entry.notes[0]


def test_cuprite_and_anatase_of_the_second_origin() -> None:
    """Without a word on the origin: atoms in the most special positions, then the standard origin; both are said."""
    anatase = read(cif("Ti1 Ti 0 .75 .125 1\nO1 O 0 .75 .333 1\n", f"{SYMBOL} 'I 41/a m d'", a=3.785, b=3.785, c=9.514))
    assert anatase.structure.formula == "Ti4 O8"
    assert "assumed, as its sites are more special there" in anatase.notes[0]
    cuprite = read(cif("Cu1 Cu 0 0 0 1\nO1 O .25 .25 .25 1\n", f"{SYMBOL} 'P n -3 m'", a=4.27, b=4.27, c=4.27))
    assert cuprite.structure.formula == "Cu4 O2"
    assert "assumed, as the file does not say which" in cuprite.notes[0]


def test_a_cell_tells_the_axes_of_rhombohedral_groups() -> None:
    hexagonal = read(cif("Bi1 Bi 0 0 .234 1\n", f"{SYMBOL} 'R -3 m'", a=4.546, b=4.546, c=11.862, gamma=120))
    primitive = read(
        cif(
            "Bi1 Bi .234 .234 .234 1\n",
            f"{SYMBOL} 'R -3 m'",
            a=4.746,
            b=4.746,
            c=4.746,
            alpha=57.2,
            beta=57.2,
            gamma=57.2,
        )
    )
    assert (hexagonal.structure.formula, primitive.structure.formula) == ("Bi6", "Bi2")
    assert hexagonal.notes == primitive.notes == ()


@pytest.mark.parametrize(
    ("symmetry", "says"),
    [
        (f"{SYMBOL} 'F m -3 m'\n{NUMBER} 225\n{XYZ}x,y,z", "F m -3 m and the listed operations disagree"),
        (f"{HALL} '-F 4 2 3'\n{XYZ}x,y,z", "Hall symbol '-F 4 2 3' and the listed operations disagree"),
        (f"{NUMBER} 225\n{XYZ}x,y,z\n-x,-y,-z", "number 225 and the listed operations disagree"),
        (f"{SYMBOL} 'P -1'\n{NUMBER} 2\n{XYZ}x,y,z\n-x,-y,-z", ""),
        (f"{SYMBOL} 'odd'\n{XYZ}x,y,z\n-x,-y,-z", ""),
    ],
)
def test_symbol_against_operations(symmetry: str, says: str) -> None:
    entry = read(cif("Na1 Na 0 0 0 1\nCl1 Cl .5 .5 .5 1\n", symmetry))
    assert entry.structure.formula == "Na1 Cl1"
    assert (says in entry.notes[0] and "were taken" in entry.notes[0]) if says else entry.notes == ()
