"""Formulas and tables of them: what is read, what is refused and with which row, and what survives a round trip."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.agent.errors import TableError
from oreflow.agent.tables.formulas import (
    aligned,
    formulas_of,
    is_known,
    read_reference,
    read_table,
    write_csv,
    write_parquet,
)
from oreflow.envs.errors import FormulaError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import formula_columns, parse_formula, parse_formulas
from tests.support.repository import ROOT


@pytest.mark.kind("formulas: subscripts, charges, dots, markup")
@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("NaCl", {11: 1, 17: 1}),
        ("NaN", {11: 1, 7: 1}),
        ("NO", {7: 1, 8: 1}),
        ("No", {102: 1}),
        ("Fe3O4", {26: 3, 8: 4}),
        ("O6Fe4", {26: 4, 8: 6}),  # not reduced here
        ("Ca(OH)2", {20: 1, 8: 2, 1: 2}),
        ("K4[Fe(CN)6]", {19: 4, 26: 1, 6: 6, 7: 6}),
        ("CuSO4(H2O)5", {29: 1, 16: 1, 8: 9, 1: 10}),
        ("CuSO₄·5H₂O", {29: 1, 16: 1, 8: 9, 1: 10}),
        ("CuSO4 * 5 H2O", {29: 1, 16: 1, 8: 9, 1: 10}),
        ("2CaO•SiO2", {20: 2, 8: 4, 14: 1}),
        ("Fe₃O₄", {26: 3, 8: 4}),
        ("Fe<sub>3</sub>O<sub>4</sub>", {26: 3, 8: 4}),
        ("Fe$_3$O$_{4}$", {26: 3, 8: 4}),
        ("Li⁺P⁵⁺O₃²⁻", {3: 1, 15: 1, 8: 3}),
        ("CH3COOH", {6: 2, 1: 4, 8: 2}),
        (" H2 O ", {1: 2, 8: 1}),
        ("D2O", {1: 2, 8: 1}),
        ("FeO1.0000000001", {26: 1, 8: 1}),
        ("H10000", {1: 10_000}),
    ],
)
def test_formulas_that_are_read(text: str, counts: dict[int, int]) -> None:
    assert parse_formula(text) == counts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a formula such as 'Fe3O4', got ''"),
        ("   ", "expected a formula such as 'Fe3O4'"),
        (None, "got None"),
        (5.0, "got 5.0"),
        ("nan", "got 'nan'"),
        ("nacl", "got 'nacl'"),
        ("Xx2O", "expected an element symbol such as 'Fe', got 'Xx'"),
        ("Qq", "got 'Qq'"),
        ("Fe0.5O", "whole numbers of atoms from 1 to 10000, got 0.5 Fe"),
        ("Li0.9CoO2", "got 0.9 Li"),
        ("FeO0", "got 0 O in 'FeO0'"),
        ("H0", "got 0 H"),
        ("(OH)0Fe", "got 0 O"),
        ("H10001", "got 10001 H"),
        ("H1e400", "got inf H"),
        ("CuSO4.5H2O", "water of a hydrate in parentheses, as CuSO4(H2O)5"),
        ("CuSO4·0.5H2O", "expected formulas between dots, with whole numbers before them"),
        ("CuSO4·", "expected formulas between dots"),
        ("Fe3+", "got 'Fe3+'"),
        ("Ca(OH", "got 'Ca(OH'"),
        ("=1+1", "got '=1+1'"),
        ("=NaCl", "got '=NaCl'"),
        ("Fe₂O₃₃₃₃₃₃", "whole numbers of atoms from 1 to 10000"),
        ("<script>", "got '<script>'"),
        ("Na\x00Cl", "got"),
    ],
)
def test_texts_that_are_no_formula(text: str, message: str) -> None:
    with pytest.raises(FormulaError) as error:
        parse_formula(text)
    assert message in str(error.value)


def test_bad_formulas_are_set_aside_and_the_others_kept_in_order() -> None:
    compositions, rows, errors = parse_formulas(["NaCl", "??", "NaN", ""])
    assert compositions.formulas() == ["ClNa", "NNa"]
    assert rows.tolist() == [0, 2]
    assert [bool(error) for error in errors] == [False, True, False, True]
    nothing, rows, _ = parse_formulas(["??"])
    assert (len(nothing), len(rows)) == (0, 0)
    assert formula_columns(nothing)["formula_reduced"] == []


def test_identity_columns_follow_materials_project_and_optimade() -> None:
    compositions, _, _ = parse_formulas(["Fe4O6", "NaN", "LiFePO4", "O", "Ca(OH)2"])
    assert formula_columns(compositions) == {
        "formula_pretty": ["Fe2O3", "NaN", "LiFePO4", "O2", "Ca(HO)2"],
        "formula_reduced": ["Fe2O3", "NNa", "FeLiO4P", "O", "CaH2O2"],
        "formula_anonymous": ["A3B2", "AB", "A4BCD", "A", "A2B2C"],
        "chemsys": ["Fe-O", "N-Na", "Fe-Li-O-P", "O", "Ca-H-O"],
        "nelements": [2, 2, 4, 1, 3],
        "nsites": [5, 2, 7, 1, 5],
    }


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "is empty; expected a header with a column 'formula'"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "'git lfs pull'"),
        ("a.csv.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "'git lfs pull'"),
        ("a.csv.gz", gzip.compress(b"formula\n" + b"NaCl\n" * 5000, mtime=0)[:-20], "damaged or truncated gzip file"),
        ("a.csv.gz", b"formula\nNaCl\n", "damaged or truncated gzip file"),
        ("a.csv", b"formula,e\nNaCl,1\nKCl,1,2\n", "cannot read"),
        ("a.csv", b"formula,e\nNaCl,1,2\nKCl,1,2\n", "more cells than the header"),
        ("a.csv", "formula\nNaCl\n".encode("utf-16"), "cannot read"),
        ("a.csv", b'formula\n"NaCl\n', "cannot read"),
        ("a.parquet", b"PAR1 and nothing else", "cannot read"),
    ],
)
def test_damaged_files_are_diagnosed(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(TableError) as error:
        read_table(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_and_a_missing_column(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="found none at"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(TableError, match="found none at"):
        read_table(tmp_path)
    frame = read_table(write(tmp_path / "a.csv", b"Fromula,energy\nNaCl,1\n"))
    with pytest.raises(TableError, match=r"expected a column 'formula'; did you mean 'Fromula'\?"):
        formulas_of(frame, "a.csv")
    with pytest.raises(TableError, match="expected a column 'enrgy'; did you mean 'energy'"):
        formulas_of(frame, "a.csv", "enrgy")
    assert formulas_of(frame, "a.csv", "Fromula") == ["NaCl"]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfformula,x\nNaN,1\nNaCl,\n",
        b"formula,x\r\nNaN,1\r\nNaCl,\r\n",
        b"formula,x\n\nNaN,NA\n\nNaCl\n\n",
        b'x,"formula"\n1,"NaN"\n2,"NaCl"\n',
    ],
    ids=["BOM", "CRLF", "blank lines, short row", "quoted"],
)
def test_cells_stay_text(tmp_path: Path, data: bytes) -> None:
    frame = read_table(write(tmp_path / "a.csv", data))
    assert formulas_of(frame, "a.csv") == ["NaN", "NaCl"]
    assert not frame.isna().any(axis=None)


@pytest.mark.kind("sodium nitride in pandas")
def test_sodium_nitride_survives_pandas_as_documented(tmp_path: Path) -> None:
    text = (ROOT / "runs" / "README.md").read_text(encoding="utf-8")
    assert 'pandas.read_csv(path, keep_default_na=False, na_values=[""])' in text
    columns = formula_columns(parse_formulas(["NaN", "NaCl"])[0]) | {"is_novel": [None, True]}
    write_csv(pd.DataFrame(columns), tmp_path / "a.csv")
    read = pd.read_csv(tmp_path / "a.csv", keep_default_na=False, na_values=[""])
    assert read["formula_pretty"].tolist() == ["NaN", "NaCl"]
    assert read["is_novel"].isna().tolist() == [True, False]


def test_a_missing_formula_in_a_parquet_file_is_empty_text(tmp_path: Path) -> None:
    pd.DataFrame({"formula": ["NaN", None]}).to_parquet(tmp_path / "a.parquet")
    assert formulas_of(read_table(tmp_path / "a.parquet"), "a") == ["NaN", ""]


def test_a_gzipped_table_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv.gz", gzip.compress(b"formula\nNaN\n"))
    assert formulas_of(read_table(path), "a") == ["NaN"]


def test_rows_that_cannot_be_read_are_numbered_as_a_spreadsheet_numbers_them(tmp_path: Path) -> None:
    path = write(tmp_path / "known.csv", b"formula,x\nNaCl,1\n\nFe0.5O,2\n,3\n=1+1,4\nKCl,5\n")
    compositions, bad = read_reference(path)
    assert compositions.formulas() == ["ClNa", "ClK"]
    assert [text.split(":")[0] for text in bad] == ["row 4", "row 5", "row 6"]
    with pytest.raises(TableError, match="holds no readable formula; row 2: expected a formula"):
        read_reference(write(tmp_path / "none.csv", b"formula\n??\n"))
    with pytest.raises(TableError, match="holds no readable formula"):
        read_reference(write(tmp_path / "header.csv", b"formula\n"))


def test_tables_keep_sodium_nitride_missing_values_and_types(tmp_path: Path) -> None:
    frame = pd.DataFrame({"formula_reduced": ["NNa", "ClNa"], "formula_pretty": ["NaN", "NaCl"], "x": [1.5, np.nan]})
    frame["novel"] = pd.array([True, pd.NA], dtype="boolean")
    write_csv(frame, tmp_path / "a.csv")
    write_parquet(frame, tmp_path / "a.parquet")
    assert (tmp_path / "a.csv").read_text() == (
        "formula_reduced,formula_pretty,x,novel\nNNa,NaN,1.5,True\nClNa,NaCl,,\n"
    )
    assert read_table(tmp_path / "a.csv")["formula_pretty"].tolist() == ["NaN", "NaCl"]
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), frame)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.parquet"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd", "@SUM(A1)", "\t=1", "\r=1"])
@pytest.mark.parametrize("dtype", [object, "string"])
def test_text_that_a_spreadsheet_would_run_is_quoted(tmp_path: Path, text: str, dtype: object) -> None:
    frame = pd.DataFrame({"note": pd.Series([text, "NaCl"], dtype=dtype), "value": [-1.0, 1.0]})
    write_csv(frame, tmp_path / "a.csv")
    back = pd.read_csv(tmp_path / "a.csv")
    assert back["note"].tolist() == ["'" + text.replace("\r", "\n"), "NaCl"]
    assert back["value"].tolist() == [-1.0, 1.0]
    assert frame["note"].tolist() == [text, "NaCl"]  # the caller's table stays


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(pd.DataFrame({"formula": ["NaCl"]}), tmp_path / "a.csv")

    def half_written(self: pd.DataFrame, path: Path, **options: object) -> None:
        Path(path).write_text("for")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", half_written)
    with pytest.raises(OSError, match="No space left"):
        write_csv(pd.DataFrame({"formula": ["KCl"]}), tmp_path / "a.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "formula\nNaCl\n"


def test_known_formulas_are_found_in_any_order_and_multiple() -> None:
    known = parse_formulas(["O6Fe4", "Na2Cl2", "LiFePO4"])[0]
    asked = parse_formulas(["Fe2O3", "NaCl", "PO4FeLi", "Fe3O4", "NaN", "Fe"])[0]
    assert is_known(asked, known).tolist() == [True, True, True, False, False, False]
    assert is_known(asked, known[:0]).tolist() == [False] * 6
    assert is_known(asked[:0], known).tolist() == []


def test_aligned_columns() -> None:
    assert aligned(["a", "long"], [["xyz", "1"], ["", "22"]]) == "a    long\n---  ----\nxyz  1\n     22"


FORMULAS = st.dictionaries(st.integers(1, 118), st.integers(1, 40), min_size=1, max_size=6)


@given(st.lists(FORMULAS, min_size=1, max_size=6), st.integers(1, 9))
def test_keys_mean_equal_reduced_formulas(dicts: list[dict[int, int]], multiple: int) -> None:
    batch = Compositions.from_dicts(dicts)
    multiplied = Compositions.from_dicts([{z: multiple * n for z, n in reversed(d.items())} for d in dicts])
    assert batch.key_bytes() == multiplied.key_bytes()
    assert [Compositions.from_dicts([d]).key_bytes()[0] for d in dicts] == batch.key_bytes()  # whatever the width
    texts = batch.reduced().formulas()
    for i in range(len(dicts)):
        for j in range(len(dicts)):
            assert (batch.key_bytes()[i] == batch.key_bytes()[j]) == (texts[i] == texts[j])
    np.testing.assert_array_equal(batch.reduced().keys(), batch.keys())
    assert [parse_formula(text) for text in batch.formulas()] == [dict(sorted(d.items())) for d in dicts]


@given(st.lists(FORMULAS, min_size=1, max_size=4), st.lists(FORMULAS, min_size=1, max_size=4))
def test_concatenate_and_dense_hold_the_same_counts(first: list[dict[int, int]], second: list[dict[int, int]]) -> None:
    both = Compositions.concatenate([Compositions.from_dicts(first), Compositions.from_dicts(second)])
    assert both.key_bytes() == Compositions.from_dicts(first + second).key_bytes()
    dense = both.dense()
    assert dense.shape == (len(first) + len(second), 119)
    for row, d in zip(dense.tolist(), first + second):
        assert {z: n for z, n in enumerate(row) if n} == d
    assert both.n_atoms.tolist() == [sum(d.values()) for d in first + second]
    assert both.n_elements.tolist() == [len(d) for d in first + second]


def test_compositions_are_read_only_and_leave_the_caller_its_arrays() -> None:
    zs, counts = np.array([[11, 17]], dtype=np.int16), np.array([[2, 2]], dtype=np.int32)
    batch = Compositions(zs, counts)
    for array in (batch.atomic_numbers, batch.counts, batch[:1].counts, batch.reduced().counts):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 5
    zs[0, 0] = 19
    with pytest.raises(ValueError, match="of one shape"):
        Compositions(zs, counts[:, :1])
