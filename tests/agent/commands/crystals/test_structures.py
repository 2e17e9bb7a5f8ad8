"""`oreflow encode` and `oreflow export`: what they write, say and return."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from oreflow.agent.evaluation.candidate_metrics import evaluate_crystals
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.tables import known_crystals
from oreflow.agent.tables.formulas import read_table
from oreflow.agent.tables.known_crystals import read_crystals
from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.envs.structure_io.reading.files import read_structure_files
from tests.support.cifs import ROCK_SALT, cif
from tests.support.cli import done, oreflow, refused
from tests.support.prototypes import prototypes

PROTOTYPES = prototypes()
SAME = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False)
pytestmark = pytest.mark.filterwarnings("ignore:.*fractional coordinates rounded to ideal values")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten crystals in four formats, three files that are none, and one that is no structure file at all."""
    root = tmp_path_factory.mktemp("crystal files")
    inner = root / "sub folder"
    inner.mkdir()
    for index, prototype in enumerate(PROTOTYPES[:8]):
        stem = inner / f"{index}_{prototype.name.replace(' ', '_')}"
        if index % 2:
            prototype.structure.to(filename=f"{stem}.vasp", fmt="poscar")
        else:
            prototype.structure.to(filename=f"{stem}.json", fmt="json")
    (root / "two.cif").write_text(
        ROCK_SALT + cif("Fe1 Fe 0 0 0 1\n", "_space_group_IT_number 229", "Fe", a=2.87, b=2.87, c=2.87)
    )
    (root / "bad_cell.cif").write_text(cif(a=0))
    (root / "empty.cif").write_text("")
    (root / "mixed.cif").write_text(cif("Fe1 Fe 0 0 0 0.5\nNi1 Ni 0 0 0 0.5\n", "_space_group_IT_number 221"))
    (root / "README.md").write_text("not a structure")
    return root


@pytest.fixture(scope="module")
def table(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables") / "new" / "crystals.csv"
    done("encode", folder, "--out", out, "--quiet")
    return out


def test_encode_writes_a_row_for_each_structure_and_a_line_for_each_fault(table: Path) -> None:
    frame = read_table(table)
    assert " ".join(frame.columns) == (
        "structure_id file block formula_pretty formula_reduced formula_anonymous chemsys nelements nsites "
        "space_group_number wyckoff_label protostructure lattice parameters structure notes"
    )
    expected = [p.space_group for p in PROTOTYPES[:8]] + [225, 229]
    assert frame["space_group_number"].astype(int).tolist() == expected
    assert frame["protostructure"].tolist()[:8] == [p.protostructure for p in PROTOTYPES[:8]]
    last = frame.iloc[-1]
    assert (last["block"], last["formula_reduced"], last["nsites"]) == ("Fe", "Fe", "1")
    assert (last["wyckoff_label"], last["lattice"]) == ("229: Fe a", "2.87 2.87 2.87 90.0 90.0 90.0")
    rutile = frame.iloc[3]
    assert rutile["wyckoff_label"] == "136: Ti a, O f"
    assert sorted(rutile["parameters"].split("; "))[0] == "0 0 0"
    errors = read_table(table.with_name(f"{table.stem}_errors.csv"))
    assert list(errors.columns) == ["file", "block", "code", "message"]
    found = {Path(row["file"]).name: row["code"] for _, row in errors.iterrows()}
    assert found == {"bad_cell.cif": "bad_cell", "empty.cif": "empty_file", "mixed.cif": "partial_occupancy"}
    assert errors["message"].str.contains("expected").all()


def test_encode_says_what_it_did(folder: Path, tmp_path: Path) -> None:
    result = done("encode", folder, "--out", tmp_path / "a.csv")
    assert f"10 structures of 12 files: {tmp_path / 'a.csv'}" in result.stdout
    assert "3 refused" in result.stderr
    assert "1 bad_cell" in result.stderr
    result = done("encode", folder / "two.cif", "--out", tmp_path / "b.parquet", "--json", "-q")
    summary = json.loads(result.stdout)
    assert (summary["n_files"], summary["n_encoded"], summary["n_refused"]) == (1, 2, 0)
    assert pd.read_parquet(tmp_path / "b.parquet")["space_group_number"].tolist() == [225, 229]
    assert done("encode", folder / "two.cif", "--out", tmp_path / "c.csv", "--quiet").output == ""


def test_options_of_encode(tmp_path: Path) -> None:
    rough = cif("Na1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.504 1\n", "_space_group_IT_number 1", a=4, b=4, c=4)
    (tmp_path / "rough.cif").write_text(rough)
    for symprec, group in ((0.001, 99), (0.1, 221)):
        done("encode", tmp_path / "rough.cif", "--out", tmp_path / "a.csv", "--symprec", symprec, "-q", "--overwrite")
        assert read_table(tmp_path / "a.csv")["space_group_number"].tolist() == [str(group)]
    (tmp_path / "salt.cif").write_text(ROCK_SALT)
    result = oreflow("encode", tmp_path / "salt.cif", "--out", tmp_path / "b.csv", "--max-atoms", 7)
    assert result.exit_code == 2
    assert "expected at most 7 atoms" in result.output


def test_nothing_to_encode_is_an_error(folder: Path, tmp_path: Path) -> None:
    refused("cannot read", "encode", tmp_path / "absent.cif", "--out", tmp_path / "a.csv")
    assert (tmp_path / "a_errors.csv").exists()
    refused("found none in", "encode", tmp_path, "--out", tmp_path / "sub" / "a.csv")  # tables want to be named
    refused("expected --out to end in .csv or .parquet", "encode", folder, "--out", tmp_path / "a.txt")
    refused("1 empty_file", "encode", folder / "empty.cif", "--out", tmp_path / "a.csv")
    refused("--symprec", "encode", folder, "--out", tmp_path / "a.csv", "--symprec", 0)
    refused("--max-atoms", "encode", folder, "--out", tmp_path / "a.csv", "--max-atoms", -1)
    assert not (tmp_path / "a.csv").exists()
    assert not (tmp_path / "sub").exists()


def test_a_place_that_cannot_be_written_has_code_5(folder: Path, table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused("file", "encode", folder / "two.cif", "--out", tmp_path / "file" / "a.csv", code=5)
    refused("file", "export", table, "--out", tmp_path / "file" / "a", code=5)


@pytest.mark.parametrize(
    ("format_", "suffix", "n_files"), [("cif", ".cif", 10), ("poscar", ".vasp", 10), ("extxyz", ".extxyz", 1)]
)
def test_export_gives_back_what_was_encoded(
    format_: str, suffix: str, n_files: int, table: Path, tmp_path: Path
) -> None:
    result = done("export", table, "--out", tmp_path / "out", "--format", format_)
    assert f"10 crystals in {n_files} files" in result.stdout
    files = sorted(path for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    if n_files > 1:  # called as they came in, the blocks of one file apart
        names = [f"{index}_{p.name.replace(' ', '_')}" for index, p in enumerate(PROTOTYPES[:8])]
        assert [path.stem for path in files] == [*names, "two_Fe", "two_NaCl"]
        files[8:] = reversed(files[8:])
    assert [path.suffix for path in files] == [suffix] * n_files
    entries = list(read_structure_files(files))
    assert [entry.code for entry in entries] == [""] * 10
    for entry, prototype in zip(entries, PROTOTYPES[:8]):
        assert SAME.fit(entry.structure, prototype.structure)
    # Encoded again it is the same table.
    done("encode", *files, "--out", tmp_path / "again.csv", "-q")
    before, after = read_table(table), read_table(tmp_path / "again.csv")
    for column in ("formula_reduced", "nsites", "space_group_number", "protostructure"):
        assert after[column].tolist() == before[column].tolist()
    lattices = [crystal_from_text(frame["structure"].tolist()).lattice for frame in (before, after)]
    assert np.abs(lattices[0] - lattices[1]).max() < 1e-6


def test_export_takes_the_first_rows_and_safe_names(table: Path, tmp_path: Path) -> None:
    frame = read_table(table).head(4).reset_index(drop=True)
    frame.insert(0, "candidate_id", ["../../evil", "a b", "A_b", "a b"])
    frame.loc[1, "structure"] = '{"sg":225,"lattice":null,"sites":[["a","Na",null],["b","Cl",null]]}'
    frame.to_parquet(tmp_path / "t.parquet")
    summary = json.loads(done("export", tmp_path / "t.parquet", "--out", tmp_path / "out", "--json", "-q").stdout)
    assert (summary["n_crystals"], summary["n_without_geometry"]) == (3, 1)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.cif")) == ["A_b.cif", "a_b_2.cif", "evil.cif"]
    assert (tmp_path / "out" / "evil.cif").read_text().startswith("data_../../evil\n")
    done("export", tmp_path / "t.parquet", "--out", tmp_path / "one", "-n", 1, "-q")
    assert [path.name for path in (tmp_path / "one").glob("*.cif")] == ["evil.cif"]
    result = done("export", tmp_path / "t.parquet", "--out", tmp_path / "xyz", "--format", "extxyz")
    assert "1 rows without lattice and coordinates left out" in result.stderr
    assert "id=../../evil " in (tmp_path / "xyz" / "structures.extxyz").read_text()
    assert "nsites=2 " in (tmp_path / "xyz" / "structures.extxyz").read_text()


def test_a_row_that_holds_no_crystal_costs_only_itself(table: Path, tmp_path: Path) -> None:
    frame = read_table(table)
    frame.loc[2, "structure"] = "what"
    frame.loc[5, "structure"] = '{"sg":999,"lattice":null,"sites":[]}'
    frame.loc[7, "structure"] = ""
    frame.to_csv(tmp_path / "t.csv", index=False)
    result = done("export", tmp_path / "t.csv", "--out", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.cif"))) == 7
    assert "7 crystals in 7 files" in result.stdout
    assert f"2 rows hold no crystal, the first: {tmp_path / 't.csv'}: row 4: " in result.stderr
    assert "1 rows without lattice and coordinates left out" in result.stderr
    known = read_crystals(tmp_path / "t.csv")
    assert len(known.crystals) == 7
    assert [line.split(": ")[1] for line in known.bad_rows] == ["row 4", "row 7"]
    assert evaluate_crystals(frame, "t.csv", None)["n_unreadable_structures"] == 2


def test_bad_tables_are_refused(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused("found none at", "export", tmp_path / "absent.csv", "--out", out)
    refused("expected a format of cif, extxyz, poscar, got 'pdb'", "export", table, "--out", out, "--format", "pdb")
    refused("'-n'", "export", table, "--out", out, "-n", 0)
    (tmp_path / "a.csv").write_text("formula\nNaCl\n")
    refused("expected a column 'structure'", "export", tmp_path / "a.csv", "--out", out)
    (tmp_path / "b.csv").write_text("formula,structure\nNaCl,\nKCl,what\n")
    refused("row 3", "export", tmp_path / "b.csv", "--out", out)
    (tmp_path / "c.csv").write_text("formula,structure\nNaCl,\n")
    refused("found none", "export", tmp_path / "c.csv", "--out", out)
    assert not out.exists()


def test_help_has_an_example() -> None:
    for verb in ("encode", "export"):
        assert f"Example: oreflow {verb} " in " ".join(done(verb, "--help").output.split())


def test_a_folder_of_one_structure_is_read_by_pymatgen_too(table: Path, tmp_path: Path) -> None:
    done("export", table, "--out", tmp_path, "--format", "poscar", "-q", "-n", 2)
    for path, prototype in zip(sorted(tmp_path.glob("*.vasp")), PROTOTYPES):
        assert SAME.fit(Structure.from_str(path.read_text(), fmt="poscar"), prototype.structure)


def test_many_structures_of_a_reference_show_that_they_are_read(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(known_crystals, "_BATCH", 2)
    monkeypatch.setattr(known_crystals, "Progress", partial(Progress, seconds_between_lines=0.0))
    done("export", table, "--out", tmp_path / "cifs", "-q")
    read_crystals(tmp_path / "cifs", quiet=False)
    assert "read cifs 2  skipped 0" in capsys.readouterr().err
    read_crystals(tmp_path / "cifs", quiet=True)
    assert capsys.readouterr().err == ""
