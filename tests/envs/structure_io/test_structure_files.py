"""Structure files as they come: each fault has its reason code, and what can be read is read (I1)."""

import gzip
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.io.cif import CifParser, CifWriter

from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import Reason, read_element
from oreflow.envs.structure_io.reading.files import read_structure_files, read_structure_text, structure_format
from oreflow.envs.structure_io.reading.texts import decode
from tests.support.cifs import ROCK_SALT, ROCK_SALT_SITES, cif
from tests.support.prototypes import Prototype, prototypes

P1 = "_symmetry_space_group_name_H-M 'P 1'"
POSCAR = """rock salt
1.0
0.0 2.82 2.82
2.82 0.0 2.82
2.82 2.82 0.0
Na Cl
1 1
Direct
0.0 0.0 0.0
0.5 0.5 0.5
"""
EXTXYZ = """2
Lattice="0.0 2.82 2.82 2.82 0.0 2.82 2.82 2.82 0.0" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T"
Na 0.0 0.0 0.0 0 0 0
Cl 2.82 2.82 2.82 0 0 0
"""
TABLE = """material_id,lattice,sites
mp-1,3.98808 3.98808 3.98808 60 60 60,Na 0 0 0; Cl 0.5 0.5 0.5
mp-2,3.98808 3.98808 3.98808 60 60 60,Na 0 0 0; Cl 0.5 0.5
mp-3,3 3 3 90 90 90,Po 0 0 0
"""


def json_text(**changes: Any) -> str:
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x], "properties": {"magmom": 1.0}}
        for symbol, x in (("Na", 0.0), ("Cl", 0.5))
    ]
    matrix = [[0, 2.82, 2.82], [2.82, 0, 2.82], [2.82, 2.82, 0]]
    return json.dumps({"@module": "pymatgen.core.structure", "lattice": {"matrix": matrix}, "sites": sites} | changes)


def read(text: str, format_: str = "cif", **options: Any) -> list[Any]:
    return list(read_structure_text(text, format_, "x", **options))


def codes(text: str, format_: str = "cif", **options: Any) -> list[str]:
    entries = read(text, format_, **options)
    for entry in entries:
        assert (entry.structure is None) == bool(entry.code) == bool(entry.message)
    return [entry.code for entry in entries]


# Each of these would be read but for one fault.
FAULTS = {
    "empty block": ("data_x\n", "no_structure"),
    "no block": ("_cell_length_a 5\n", "no_structure"),
    "prose": ("This is not a CIF.", "no_structure"),
    "unterminated loop": (ROCK_SALT.rstrip()[:-6], "unterminated_loop"),
    "unterminated text": (ROCK_SALT + "_title\n;never closed\n", "parse_error"),
    "no atoms": (cif(sites=""), "no_atoms"),
    "no cell": (ROCK_SALT.replace("_cell_", "_sell_"), "no_lattice"),
    "missing length": (ROCK_SALT.replace("_cell_length_b", "_other"), "bad_cell"),
    "zero length": (cif(a="0.0"), "bad_cell"),
    "negative length": (cif(b="-5.64"), "bad_cell"),
    "NaN length": (cif(c="nan"), "bad_cell"),
    "infinite length": (cif(c="1e999"), "bad_cell"),
    "unknown length": (cif(c="?"), "bad_cell"),
    "decimal comma": (cif(c="'5,64'"), "bad_cell"),
    "huge length": (cif(c="5640"), "bad_cell"),
    "angle 0": (cif(alpha=0), "bad_cell"),
    "angle 180": (cif(gamma=180), "bad_cell"),
    "flat cell": (cif(alpha=60, beta=60, gamma=120), "bad_cell"),
    "impossible angles": (cif(alpha=30, beta=30, gamma=90), "bad_cell"),
    "overlap": (cif("Na1 Na 0 0 0 1\nCl1 Cl 0.02 0.02 0 1\n", P1), "overlapping_atoms"),
    "overlap across the boundary": (cif("Na1 Na 0.99 0 0 1\nCl1 Cl 0.01 0 0 1\n", P1), "overlapping_atoms"),
    "two elements in one place": (cif("Na1 Na 0 0 0 1\nCl1 Cl 0 0 0 1\n", P1), "overlapping_atoms"),
    "occupancy above one": (cif("Na1 Na 0 0 0 1.5\n", P1), "occupancy_above_one"),
    "partial occupancy": (cif("Na1 Na 0 0 0 0.5\nK1 K 0 0 0 0.5\n", P1), "partial_occupancy"),
    "negative occupancy": (cif("Na1 Na 0 0 0 -1\n", P1), "partial_occupancy"),
    "mixed site": (cif("M1 '0.8Nb + 0.2Zr' 0 0 0 1\n", P1), "partial_occupancy"),
    "unknown element": (cif("Xx1 Xx 0 0 0 1\n", P1), "unknown_element"),
    "dummy atom": (cif("X1 X 0 0 0 1\n", P1), "unknown_element"),
    "NaN coordinate": (cif("Na1 Na nan 0 0 1\n", P1), "bad_coordinates"),
    "missing coordinate": (cif("Na1 Na ? 0 0 1\n", P1), "bad_coordinates"),
    "unknown space group": (cif(symmetry="_symmetry_space_group_name_H-M 'Q m m m'"), "unknown_space_group"),
    "group 500": (cif(symmetry="_space_group_IT_number 500"), "unknown_space_group"),
    "hydrogens not given": (
        cif("O1 O 0 0 0 2\n", P1).replace("_atom_site_occupancy", "_atom_site_attached_hydrogens"),
        "implicit_hydrogens",
    ),
    "magnetic": (cif(symmetry="_space_group_magn.number_BNS 62.448"), "magnetic"),
    "moments": (ROCK_SALT + "loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_x\nNa1 1.0\n", "magnetic"),
    "modulated": (cif(symmetry="_space_group_ssg_name 'P 1'"), "modulated"),
    "code for an operation": (
        cif(symmetry="_symmetry_equiv_pos_as_xyz \"__import__('os').abort(),y,z\""),
        "parse_error",
    ),
}


@pytest.mark.parametrize(("text", "code"), FAULTS.values(), ids=FAULTS)
def test_each_fault_of_a_cif_has_its_code(text: str, code: str) -> None:
    assert codes(text) == [code]
    assert code in list(Reason)


# The pattern of CVE-2024-23346; what it would run makes a file that must not appear.
EXPLOIT = (
    "\n_space_group_magn.transform_BNS_Pp_abc  'a,b,[d for d in ().__class__.__mro__[1].__getattribute__ ( "
    '*[().__class__.__mro__[1]]+["__sub" + "classes__"]) () if d.__name__ == "BuiltinImporter"][0].load_module '
    """("os").system ("touch OWNED");0,0,0'\n_space_group_magn.number_BNS  62.448\n"""
    """_space_group_magn.name_BNS  "P  n'  m  a'  "\n"""
)


@pytest.mark.parametrize(
    "key", ["_space_group_magn.transform", "_magnetic_space_group.transform_to_standard", "_other"]
)
def test_published_exploit_runs_nothing(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = ROCK_SALT + EXPLOIT.replace("_space_group_magn.transform_BNS", f"{key}_BNS").replace(
        "\n_space_group_magn.n", "\n_other.n" if key == "_other" else "\n_space_group_magn.n"
    )
    (tmp_path / "owned.cif").write_text(text)
    entries = list(read_structure_files(["owned.cif"]))
    # Under an item that means nothing the crystal is read, and the item is never looked at.
    assert [entry.code for entry in entries] == ["" if key == "_other" else "magnetic"]
    assert os.listdir(tmp_path) == ["owned.cif"]


ACCEPTED = {
    "plain": ROCK_SALT,
    "charge before sign": cif("Na1 Na+ 0 0 0 1\nCl1 Cl- 0.5 0.5 0.5 1\n"),
    "sign before charge": cif("Na1 Na+1 0 0 0 1\nCl1 Cl-1 0.5 0.5 0.5 1\n"),
    "capitals": cif("Na1 NA 0 0 0 1\nCl1 CL 0.5 0.5 0.5 1\n"),
    "labels only": ROCK_SALT.replace("_atom_site_type_symbol", "_atom_site_other"),
    "unknown occupancy": cif("Na1 Na 0 0 0 .\nCl1 Cl 0.5 0.5 0.5 ?\n"),
    "outside the cell": cif("Na1 Na 1 -1 2 1\nCl1 Cl 1.5 0.5 -0.5 1\n"),
    "listed twice": cif(ROCK_SALT_SITES + "Na2 Na 0 0 0 1\n"),
    "quotes and comments": "# by hand\n" + ROCK_SALT + "_title 'Na' s salt' # why not\n_text\n;\nloop_\n_x\n;\n",
    "new names": ROCK_SALT.replace("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt"),
    "by number": cif(symmetry="_space_group_IT_number 225"),
    "journal text before": "data_global\n_publ_title 'x'\n" + ROCK_SALT,
    "dots": ROCK_SALT.replace("_cell_length_", "_cell.length_"),
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_odd_but_clear_is_read(text: str) -> None:
    (entry,) = read(text)
    assert entry.code == ""
    assert entry.structure.formula == "Na4 Cl4"
    assert entry.structure.lattice.abc == pytest.approx([5.6402] * 3)
    # Six neighbours of the other kind at half the cell length: rock salt and nothing else.
    distances = entry.structure.distance_matrix[0]
    assert sorted(np.unique(distances.round(4))) == pytest.approx([0, 2.8201, 3.9882, 4.8846], abs=1e-3)


def test_sites_near_a_symmetry_element_are_put_onto_it() -> None:
    """Coordinates of three digits mean thirds: hcp has two atoms, not one for each operation that misses."""
    text = cif("Mg1 Mg 0.333 0.667 0.25 1\n", "_space_group_IT_number 194", a=3.21, b=3.21, c=5.21, gamma=120)
    (entry,) = read(text)
    assert len(entry.structure) == 2
    assert sorted(entry.structure.frac_coords[:, 0]) == pytest.approx([1 / 3, 2 / 3], abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*fractional coordinates rounded to ideal values")
@pytest.mark.parametrize("prototype", prototypes(), ids=lambda prototype: prototype.name)
@pytest.mark.parametrize("symprec", [None, 0.01])
def test_cifs_of_pymatgen_read_as_pymatgen_reads_them(prototype: Prototype, symprec: float | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib's in pymatgen
        text = str(CifWriter(prototype.structure, symprec=symprec))
    (theirs,) = CifParser.from_str(text).parse_structures(primitive=False)
    (entry,) = read(text)
    assert entry.structure.formula == theirs.formula == prototype.structure.formula
    distances = entry.structure.lattice.get_all_distances(entry.structure.frac_coords, theirs.frac_coords)
    same = np.array(entry.structure.atomic_numbers)[:, None] == np.array(theirs.atomic_numbers)
    assert np.where(same, distances, 9).min(axis=1).max() < 1e-3


def test_isotopes_count_as_hydrogen_and_say_so() -> None:
    (entry,) = read(cif("D1 D 0 0 0 1\nO1 O 0.3 0 0 1\nT1 T 0.6 0 0 1\n", P1))
    assert entry.structure.formula == "H2 O1"
    assert entry.notes == ("deuterium read as H", "tritium read as H")
    notes: list[str] = []
    assert (read_element("7Li", notes), notes) == ("Li", ["isotope 7Li read as Li"])


def test_atoms_listed_twice_are_one() -> None:
    (entry,) = read(
        POSCAR.replace("1 1", "2 1").replace("0.0 0.0 0.0\n0.5", "0.0 0.0 0.0\n0.001 0.0 0.0\n0.5"), "poscar"
    )
    assert (entry.structure.formula, entry.notes) == ("Na1 Cl1", ("1 atoms listed twice were merged",))


def test_blocks_stand_for_themselves() -> None:
    text = ROCK_SALT + cif(name="bad", a=0) + cif("Na1 Na 0 0 0 1\n", P1, name="one")
    entries = read(text)
    assert [(entry.block, entry.code) for entry in entries] == [("NaCl", ""), ("bad", "bad_cell"), ("one", "")]
    assert [len(entry.structure) for entry in entries if entry.structure] == [8, 1]


def test_many_atoms_are_refused_before_any_work() -> None:
    rows = "".join(f"Na{i} Na {i / 1e5:.6f} 0 0 1\n" for i in range(100_000))
    assert codes(cif(rows, P1)) == ["too_many_atoms"]
    assert codes(ROCK_SALT, max_atoms=7) == ["too_many_atoms"]  # two rows, eight atoms
    assert codes(ROCK_SALT, max_atoms=8) == [""]
    assert codes(POSCAR.replace("1 1", "100000 1"), "poscar") == ["too_many_atoms"]
    assert codes("100000\n", "extxyz") == ["too_many_atoms"]


@pytest.mark.parametrize(("format_", "text"), [("poscar", POSCAR), ("extxyz", EXTXYZ), ("json", json_text())])
def test_other_formats_hold_the_same_crystal(format_: str, text: str) -> None:
    (entry,) = read(text, format_)
    assert entry.code == ""
    assert entry.structure.formula == "Na1 Cl1"
    assert entry.structure.volume == pytest.approx(2 * 2.82**3)
    assert entry.structure.get_distance(0, 1) == pytest.approx(2.82)


OTHER_FAULTS = {
    "poscar short": ("poscar", "only\n1.0\n", "parse_error"),
    "poscar scale": ("poscar", POSCAR.replace("1.0", "0.0", 1), "bad_cell"),
    "poscar vector": ("poscar", POSCAR.replace("0.0 2.82 2.82", "0.0 0.0 0.0"), "bad_cell"),
    "poscar without symbols": ("poscar", POSCAR.replace("Na Cl\n", ""), "unknown_element"),
    "poscar truncated": ("poscar", POSCAR[:-14], "bad_coordinates"),
    "poscar no counts": ("poscar", POSCAR.replace("1 1", "x y"), "parse_error"),
    "poscar zero counts": ("poscar", POSCAR.replace("1 1", "0 0"), "no_atoms"),
    "xyz without lattice": ("extxyz", "1\nwater\nO 0 0 0\n", "no_lattice"),
    "xyz not periodic": ("extxyz", EXTXYZ.replace("T T T", "T T F"), "not_periodic"),
    "xyz truncated": ("extxyz", EXTXYZ[:-25], "parse_error"),
    "xyz NaN": ("extxyz", EXTXYZ.replace("2.82 2.82 2.82 0 0 0", "nan 2.82 2.82 0 0 0"), "bad_coordinates"),
    "xyz flat": ("extxyz", EXTXYZ.replace('2.82 2.82 0.0"', '2.82 2.82 5.64"'), "bad_cell"),
    "json broken": ("json", json_text()[:-5], "parse_error"),
    "json deep": ("json", "[" * 100_000, "parse_error"),
    "json other": ("json", '{"a": 1}', "no_structure"),
    "json NaN": ("json", json_text(lattice={"matrix": [[float("nan")] * 3] * 3}), "bad_cell"),
    "json without sites": ("json", json_text(sites=[]), "no_atoms"),
    "json mixed": (
        "json",
        json_text(
            sites=[{"species": [{"element": "Na", "occu": 0.5}, {"element": "K", "occu": 0.5}], "abc": [0, 0, 0]}]
        ),
        "partial_occupancy",
    ),
    "table without columns": ("csv", "a,b\n1,2\n", "no_structure"),
}


@pytest.mark.parametrize(("format_", "text", "code"), OTHER_FAULTS.values(), ids=OTHER_FAULTS)
def test_faults_of_other_formats(format_: str, text: str, code: str) -> None:
    assert codes(text, format_) == [code]


def test_json_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    sites = json.loads(json_text())["sites"]
    sites[0]["properties"] = {"x": {"@module": "evil", "@class": "Evil"}}
    assert codes(json_text(sites=sites), "json") == [""]


def test_a_table_reads_row_by_row() -> None:
    entries = read(TABLE, "csv")
    assert [(entry.block, entry.code) for entry in entries] == [("mp-1", ""), ("mp-2", "parse_error"), ("mp-3", "")]
    assert entries[0].structure.formula == "Na1 Cl1"
    quoted = 'material_id,cif\na,"' + ROCK_SALT.replace('"', '""') + '"\nb,\n'
    assert [(entry.block, entry.code) for entry in read(quoted, "csv")] == [("a", ""), ("b", "no_structure")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings(encoding: str, newline: str, tmp_path: Path) -> None:
    text = "# Müller\n" + ROCK_SALT
    path = tmp_path / "a.cif"
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    (entry,) = read_structure_files([path])
    assert (entry.code, len(entry.structure)) == ("", 8)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b" \r\n\t\n", "empty_file"),
        (b"\xef\xbb\xbf", "empty_file"),
        (bytes(range(256)) * 4, "not_text"),
        (b"\x89PNG\r\n\x1a\n" + b"\0\1\2" * 99, "not_text"),
        (ROCK_SALT.encode("utf-16-le"), "not_text"),
        (b"\xff\xfe\x00", "not_text"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, code: str, tmp_path: Path) -> None:
    with pytest.raises(StructureError) as caught:
        decode(data)
    assert caught.value.code == code
    (tmp_path / "a.cif").write_bytes(data)
    (tmp_path / "b.cif").write_text(ROCK_SALT)
    assert [entry.code for entry in read_structure_files([tmp_path])] == [code, ""]


def test_files_that_cannot_be_opened_or_are_too_long(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.cif.gz", "wb") as file:
        file.write(b"\n" * 5_000_000)
    (tmp_path / "torn.cif.gz").write_bytes(gzip.compress(ROCK_SALT.encode())[:-20])
    (tmp_path / "whole.cif.gz").write_bytes(gzip.compress(ROCK_SALT.encode()))
    (tmp_path / "what.bin").write_text("no idea")
    names = ["absent.cif", "bomb.cif.gz", "torn.cif.gz", "what.bin", "whole.cif.gz"]
    entries = list(read_structure_files([tmp_path / name for name in names], max_bytes=1_000_000))
    assert [e.code for e in entries] == ["unreadable", "file_too_large", "unreadable", "unknown_format", ""]
    assert [Path(entry.file).name for entry in entries] == names


@pytest.mark.parametrize(
    ("name", "text", "format_"),
    [
        ("a.CIF", "", "cif"),
        ("POSCAR", "", "poscar"),
        ("CONTCAR_final.gz", "", "poscar"),
        ("a.vasp", "", "poscar"),
        ("a.csv.gz", "", "csv"),
        ("a.txt", ROCK_SALT, "cif"),
        ("a.txt", EXTXYZ, "extxyz"),
        ("a.txt", json_text(), "json"),
    ],
)
def test_formats_are_told_by_name_then_by_content(name: str, text: str, format_: str) -> None:
    assert structure_format(Path(name), text) == format_


@settings(max_examples=150)
@given(st.data())
def test_no_mutation_raises_anything_else(data: st.DataObject) -> None:
    format_, text = data.draw(
        st.sampled_from(
            [("cif", ROCK_SALT), ("poscar", POSCAR), ("extxyz", EXTXYZ), ("json", json_text()), ("csv", TABLE)]
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        new = data.draw(
            st.one_of(st.text(max_size=6), st.sampled_from(["\n", "'", ";", "\n;", "loop_", "data_", "-", "9", "nan"]))
        )
        text = text[:start] + new + text[end:]
    for entry in read_structure_text(text, format_, "x"):
        assert (entry.structure is None) == bool(entry.code)
        assert not entry.code or (entry.code in list(Reason) and entry.message)


def test_operations_that_do_not_keep_the_cell_are_refused(tmp_path: Path) -> None:
    """A rhombohedral cell under the operations of a cubic group."""
    path = tmp_path / "bismuth.cif"
    cell = "".join(f"_cell_length_{x} 4.746\n" for x in "abc") + "".join(
        f"_cell_angle_{x} 57.23\n" for x in ("alpha", "beta", "gamma")
    )
    path.write_text(
        f"data_Bi\n_space_group_IT_number 221\n{cell}loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n"
        "_atom_site_fract_z\nBi 0.234 0.234 0.234\n"
    )
    entry = next(iter(read_structure_files([path])))
    assert entry.code == "bad_cell"
    assert "symmetry operations keep" in entry.message
