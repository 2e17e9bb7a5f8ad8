"""Tables as people have them: packed, with tabs, lists, JSON records, comments, other names of the column."""

import bz2
import gzip
import json
import logging
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from oreflow.agent.tables.formulas import formulas_of, read_table, row_errors
from oreflow.agent.tables.known_crystals import holds_crystals, read_known
from oreflow.envs.errors import TableError
from tests.support.cli import done

pytestmark = pytest.mark.kind("tables: kinds and names of columns")

ROWS = "formula,formation_energy_per_atom\nNaCl,-2.1\nNaN,0.1\nFe2O3,-1.7\n"
FORMULAS = ["NaCl", "NaN", "Fe2O3"]
RECORDS = [{"formula": f, "formation_energy_per_atom": -1.0} for f in FORMULAS]


def zipped(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("table.csv", data)
        archive.writestr("__MACOSX/._table.csv", b"x")


KINDS: dict[str, Callable[[Path], object]] = {
    "a.csv": lambda path: path.write_text(ROWS),
    "a.tsv": lambda path: path.write_text(ROWS.replace(",", "\t")),
    "tabs.csv": lambda path: path.write_text(ROWS.replace(",", "\t")),
    "a.txt": lambda path: path.write_text(ROWS),
    "list.txt": lambda path: path.write_text("\n".join(FORMULAS) + "\n"),
    "comment.csv": lambda path: path.write_text("# downloaded\n# by me\n" + ROWS),
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(ROWS.encode())),
    "A.CSV.GZ": lambda path: path.write_bytes(gzip.compress(ROWS.encode())),
    "a.csv.bz2": lambda path: path.write_bytes(bz2.compress(ROWS.encode())),
    "a.tsv.xz": lambda path: path.write_bytes(lzma.compress(ROWS.replace(",", "\t").encode())),
    "a.csv.zip": lambda path: zipped(path, ROWS.encode()),
    "a.json": lambda path: path.write_text(json.dumps(RECORDS)),
    "data.json": lambda path: path.write_text(json.dumps({"data": RECORDS})),
    "a.jsonl": lambda path: path.write_text("\n".join(map(json.dumps, RECORDS))),
    "list.json": lambda path: path.write_text(json.dumps(FORMULAS)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_as_table_and_as_reference(tmp_path: Path, name: str) -> None:
    KINDS[name](tmp_path / name)
    assert formulas_of(read_table(tmp_path / name), name) == FORMULAS
    assert not holds_crystals(tmp_path / name)
    known, bad = read_known(tmp_path / name)
    assert sorted(known.formula_units().formulas()) == ["ClNa", "Fe2O3", "NNa"]
    assert bad == []


@pytest.mark.parametrize("name", ["list.txt", "comment.csv", "a.csv.zip", "a.json"])
def test_verbs_take_every_kind(tmp_path: Path, name: str) -> None:
    KINDS[name](tmp_path / name)
    table = str(tmp_path / name)
    assert len(json.loads(done("score", "--in", table, "--reward", "charge_balance", "--json").stdout)) == 3
    metrics = done("evaluate", table, "--reference", table, "--out", str(tmp_path / "m.json"), "--json").stdout
    assert json.loads(metrics)["share_novel"] == 0.0


def test_errors_count_comments_and_lists_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("# mine\nformula\nNaCl\nbad\n")
    assert row_errors(read_table(tmp_path / "c.csv"), ["", "x"]) == ["row 4: x"]
    (tmp_path / "l.txt").write_text("NaCl\nbad\n")
    assert row_errors(read_table(tmp_path / "l.txt"), ["", "x"]) == ["row 2: x"]


@pytest.mark.parametrize(
    "column",
    ["pretty_formula", "chemical_formula_reduced", "Formula", "Composition", "Reduced Formula", "full_formula"],
)
def test_known_spellings_are_taken_and_said_once(tmp_path: Path, column: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"x,{column}\n1,NaCl\n")
    with caplog.at_level(logging.INFO, logger="oreflow"):
        assert formulas_of(read_table(path), str(path)) == ["NaCl"]
        assert formulas_of(read_table(path), str(path)) == ["NaCl"]
    said = [record.message for record in caplog.records if column in record.message]
    assert said == [f"{path}: formulas are taken from the column {column!r}"]


def test_a_column_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("stuff,formula\nNaCl,KBr\n")
    table = str(tmp_path / "a.csv")
    shown = json.loads(done("score", "--in", table, "--formula-column", "stuff", "--json").stdout)
    assert shown[0]["formula_reduced"] == "ClNa"
    metrics = done("evaluate", table, "--formula-column", "stuff", "--reference", table, "--json").stdout
    assert json.loads(metrics)["share_novel"] == 0.0


def test_a_header_alone_and_an_archive_of_several_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("formula\n")
    with pytest.raises(TableError, match="holds no readable formula"):
        read_known(tmp_path / "a.csv")
    with zipfile.ZipFile(tmp_path / "b.csv.zip", "w") as archive:
        archive.writestr("one.csv", ROWS)
        archive.writestr("two.csv", ROWS)
    with pytest.raises(TableError, match="expected one table in the archive, got 2 files"):
        read_table(tmp_path / "b.csv.zip")
