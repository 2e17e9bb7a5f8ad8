"""Structures in JSON documents of several projects, packed files and archives, and what their entries are called."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from oreflow.agent.tables.structures import encode_files, export
from oreflow.envs.structure_io.reading.files import read_structure_files, structure_paths
from tests.support.cifs import ROCK_SALT

pytestmark = pytest.mark.kind("structures: JSON, packed, xyz, POSCAR")

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
SALT_DICT = json.loads(json.dumps(SALT.as_dict()))
CELL = {name: getattr(SALT.lattice, name) for name in ("a", "b", "c", "alpha", "beta", "gamma")}


def sites(*drop: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in site.items() if key not in drop} for site in SALT_DICT["sites"]]


def ase_json() -> str:
    file = io.StringIO()
    ase.io.write(file, SALT.to_ase_atoms(), format="json")
    return file.getvalue()


OPTIMADE = {
    "id": "mp-22862",
    "type": "structures",
    "attributes": {
        "lattice_vectors": SALT.lattice.matrix.tolist(),
        "cartesian_site_positions": SALT.cart_coords.tolist(),
        "species_at_sites": [site.specie.symbol for site in SALT],
        "species": [{"name": name, "chemical_symbols": [name], "concentration": [1.0]} for name in ("Na", "Cl")],
    },
}
JARVIS = {
    "jid": "JVASP-1",
    "atoms": {
        "lattice_mat": SALT.lattice.matrix.tolist(),
        "coords": SALT.frac_coords.tolist(),
        "elements": [site.specie.symbol for site in SALT],
        "cartesian": False,
    },
}
DOCUMENT = {"material_id": "mp-22862", "formula_pretty": "NaCl", "structure": SALT_DICT}
FORMS: dict[str, tuple[str, list[str]]] = {
    "structure": (json.dumps(SALT_DICT), ["file"]),
    "documents": (json.dumps([DOCUMENT, DOCUMENT | {"material_id": "mp-2"}]), ["mp-22862", "mp-2"]),
    "data": (json.dumps({"data": [DOCUMENT], "meta": {}}), ["mp-22862"]),
    "JSON Lines": (json.dumps(DOCUMENT) + "\n" + json.dumps(SALT_DICT) + "\n", ["mp-22862", "file_1"]),
    "by name": (json.dumps({"salt": SALT_DICT, "other": SALT_DICT}), ["salt", "other"]),
    "lattice by a b c": (json.dumps({"lattice": CELL, "sites": sites("xyz")}), ["file"]),
    "sites by xyz": (json.dumps(SALT_DICT | {"sites": sites("abc")}), ["file"]),
    "entries": (json.dumps([{"entry_id": "e1", "structure": SALT_DICT, "energy": -1.0}]), ["e1"]),
    "OPTIMADE": (json.dumps({"data": [OPTIMADE]}), ["mp-22862"]),
    "OPTIMADE, one": (json.dumps({"data": OPTIMADE}), ["mp-22862"]),
    "JARVIS": (json.dumps([JARVIS]), ["JVASP-1"]),
    "ASE": (ase_json(), ["file_1"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_json(tmp_path: Path, form: str) -> None:
    text, ids = FORMS[form]
    (tmp_path / "file.json").write_text(text)
    entries = list(read_structure_files([tmp_path / "file.json"]))
    assert [entry.message for entry in entries] == [""] * len(ids)
    assert [entry.id for entry in entries] == ids if form != "ASE" else len(entries) == 1
    for entry in entries:
        assert entry.structure.composition == SALT.composition
        assert np.allclose(
            np.sort(entry.structure.distance_matrix, axis=None), np.sort(SALT.distance_matrix, axis=None)
        )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"lattice": CELL, "sites": sites("abc")}, "sites have xyz alone"),
        ({"lattice": {"a": 3.0}, "sites": sites()}, "it has no 'b'"),
        ([{"id": "x", "energy": 1.0}], "expected a structure of pymatgen"),
        (
            {"cell": [[3, 0, 0], [0, 3, 0], [0, 0, 3]], "numbers": [3], "positions": [[0, 0, 0]], "pbc": [1, 1, 0]},
            "pbc",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, data: Any, says: str) -> None:
    (tmp_path / "file.json").write_text(json.dumps(data))
    (entry,) = read_structure_files([tmp_path / "file.json"])
    assert entry.structure is None
    assert says in entry.message


def test_charges_and_isotopes_of_one_element_share_a_site(tmp_path: Path) -> None:
    mixed = sites()
    mixed[0]["species"] = [
        {"element": "Na", "oxidation_state": 1, "occu": 0.5},
        {"element": "Na", "oxidation_state": 0, "occu": 0.5},
    ]
    mixed[1]["species"] = [{"element": "Na", "occu": 1}, {"element": "K", "occu": 0}]
    (tmp_path / "file.json").write_text(json.dumps(SALT_DICT | {"sites": mixed}))
    (entry,) = read_structure_files([tmp_path / "file.json"])
    assert entry.structure.composition == SALT.composition


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".GZ", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_packed_files(tmp_path: Path, suffix: str, pack: Any) -> None:
    path = tmp_path / f"mp-1.CIF{suffix}"
    path.write_bytes(pack(ROCK_SALT.encode()))
    assert structure_paths(tmp_path) == [path]
    (entry,) = read_structure_files([path])
    assert (entry.structure.formula, entry.id) == ("Na4 Cl4", "mp-1")
    path.write_bytes(pack(ROCK_SALT.encode())[:-9])
    (entry,) = read_structure_files([path])
    assert entry.code == "unreadable"


def test_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.writestr("a/mp-1.cif", ROCK_SALT)
        archive.writestr("mp-2.cif.gz", gzip.compress(ROCK_SALT.encode()))
        archive.writestr("bad.cif", "data_x\n_cell_length_a 1\n")
        archive.writestr("README.txt", "hello")
        archive.writestr("__MACOSX/._mp-1.cif", b"\0\1")
    entries = list(read_structure_files([tmp_path]))
    assert [entry.id for entry in entries if not entry.code] == ["mp-1", "mp-2"]
    assert len(entries) == 3
    (tmp_path / "many.zip").write_bytes(b"PK nothing")
    (entry,) = read_structure_files([tmp_path / "many.zip"])
    assert entry.code == "unreadable"


def test_hidden_files_and_checkpoints_of_notebooks_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.cif", ".hidden.cif", ".ipynb_checkpoints/a-checkpoint.cif", "__MACOSX/a.cif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(ROCK_SALT)
    assert [path.name for path in structure_paths(tmp_path)] == ["a.cif"]


def test_a_name_comes_out_as_it_came_in(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "mp-1006878.cif").write_text(ROCK_SALT)
    (tmp_path / "in" / "docs.json").write_text(FORMS["documents"][0])
    frame, errors = encode_files(structure_paths(tmp_path / "in"), 0.01, 100)
    assert len(errors) == 0
    export(frame, "table", tmp_path / "out", "cif")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.cif"))
    assert names == ["mp-1006878.cif", "mp-2.cif", "mp-22862.cif"]


POSCAR = "comment\n1.0 ! scale\n0.0 2.82 2.82 ! a\n2.82 0.0 2.82\n2.82 2.82 0.0\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
FRAME = 'Lattice="0.0 2.82 2.82 2.82 0.0 2.82 2.82 2.82 0.0"'
XYZ = {
    "labels": f'2\n{FRAME} Properties=species:S:1:pos:R:3 pbc="T T T"\nNa1 0 0 0\nCl2 2.82 2.82 2.82\n',
    "atomic numbers": f'2\n{FRAME} Properties=species:S:1:pos:R:3 pbc="1 1 1"\n11 0 0 0\n17 2.82 2.82 2.82\n',
    "column Z": f"2\n{FRAME} Properties=Z:I:1:pos:R:3\n11 0 0 0\n17 2.82 2.82 2.82\n",
}


def test_numbers_come_first_in_a_poscar(tmp_path: Path) -> None:
    (tmp_path / "a.vasp").write_text(POSCAR)
    (entry,) = read_structure_files([tmp_path / "a.vasp"])
    assert entry.structure.formula == "Na1 Cl1"


@pytest.mark.parametrize("kind", XYZ)
def test_species_of_xyz(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.xyz").write_text(XYZ[kind])
    (entry,) = read_structure_files([tmp_path / "a.xyz"])
    assert entry.structure.formula == "Na1 Cl1"


def test_frames_that_are_not_periodic_and_frames_with_ids(tmp_path: Path) -> None:
    text = XYZ["labels"].replace("T T T", "0 0 0") + XYZ["labels"].replace("pbc=", 'id="c0000007" pbc=')
    (tmp_path / "a.xyz").write_text(text)
    first, second = read_structure_files([tmp_path / "a.xyz"])
    assert first.code == "not_periodic"
    assert second.id == "c0000007"
