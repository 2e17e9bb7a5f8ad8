"""Reading references: every fault of a user's table is injected and must be named with its row and its remedy."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import (
    CompositionEnergyAdjustment,
    ComputedEntry,
    ComputedStructureEntry,
    ConstantEnergyAdjustment,
)

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import FormulaError, TableError
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.errors import ReferenceTableError
from oreflow.rewards.reference.known_phases import Reference, read_reference
from oreflow.rewards.reference.tables import read_formula

HEAD = "formula,formation_energy_per_atom\n"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def energies(reference: Reference) -> dict[str, float]:
    return dict(zip(reference.compositions.formulas(), reference.energies.tolist()))


def test_a_table_is_read(tmp_path: Path) -> None:
    data = HEAD + "NaN,-0.5\nFe4O6,-1.6\n\nFe2O3,-1.7\nO2,0\n ClNa , -2.1 \n"
    reference = read_reference(write(tmp_path / "a.csv", data))
    assert energies(reference) == {"NNa": -0.5, "Fe2O3": -1.7, "O": 0.0, "ClNa": -2.1}
    assert reference.report == {
        "rows_read": 5,
        "formulas": 4,
        "rows_set_aside": 0,
        "duplicates": 1,
        "rows_with_isotopes": 0,
    }
    assert reference.sha256 == hashlib.sha256(data.encode()).hexdigest()
    assert reference.version == reference.sha256[:12]
    reference.warn()  # says nothing; warnings are errors here


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    rows = ["NaCl,-2.1", "KCl,-2.2", "Na2Cl2,-2.0", "MgO,-3.0", "Fe,0"]
    first = read_reference(write(tmp_path / "a.csv", HEAD + "\n".join(rows)))
    second = read_reference(write(tmp_path / "b.csv", HEAD + "\n".join(reversed(rows))))
    assert first.compositions.formulas() == second.compositions.formulas()
    assert first.energies.tolist() == second.energies.tolist()


def test_gzip_parquet_and_named_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["NaCl", "NaN", None], "e": [-2.1, -0.5, -1.0]})
    frame.to_parquet(tmp_path / "a.parquet")
    write(tmp_path / "a.csv.gz", gzip.compress(frame.to_csv(index=False).encode()))
    for name in ("a.parquet", "a.csv.gz"):
        reference = read_reference(tmp_path / name, formula_column="name", energy_column="e")
        assert energies(reference) == {"ClNa": -2.1, "NNa": -0.5}
        assert reference.bad_rows[0].startswith("row 4: expected a formula")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('NaCl,"-2,1"', "energy '-2,1' is not a number; write a decimal point instead of the comma"),
        ("NaCl,", "no energy"),
        ("NaCl,n/a", "energy 'n/a' is not a number"),
        ("NaCl,nan", "energy 'nan' is not a finite number"),
        ("NaCl,-inf", "energy '-inf' is not a finite number"),
        ("NaCl,1_0", "energy '1_0' is not a number"),
        ("NaCl,-27.3", "is not between -10 and 10; expected eV per atom"),
        ("Fe,-8.47", "element Fe has formation energy -8.47 eV/atom, which is 0 in its reference state"),
        (",-1.0", "expected a formula such as 'Fe3O4', got ''"),
        ("CuSO4.5H2O,-1", "water of a hydrate in parentheses, as CuSO4(H2O)5"),
        ("CuSO4·0.5H2O,-1", "expected formulas between dots, with whole numbers before them"),
        ("Li0.9CoO2,-1", "whole numbers of atoms from 1 to 10000, got 0.9 Li"),
        ("FeO0,-1", "got 0 O in 'FeO0'"),
        ("=NaCl,-1", "got '=NaCl'"),
        ("13CO2,-1", "got '13CO2'"),
        ("Xx2O,-1", "expected an element symbol such as 'Fe', got 'Xx'"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_number_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    reference = read_reference(write(tmp_path / "a.csv", f"{HEAD}KCl,-2.2\n\n{row}\nMgO,-3.0\n"))
    assert energies(reference) == {"ClK": -2.2, "MgO": -3.0}
    assert len(reference.bad_rows) == reference.report["rows_set_aside"] == 1
    assert reference.bad_rows[0].startswith("row 4: ")
    assert reason in reference.bad_rows[0]
    with pytest.raises(ReferenceTableError, match=r"holds no usable row; row 2: ") as error:
        read_reference(write(tmp_path / "b.csv", f"{HEAD}{row}\n"))
    assert reason in str(error.value)


def test_a_quoted_newline_is_part_of_its_cell(tmp_path: Path) -> None:
    data = 'note,formula,formation_energy_per_atom\n"two\nlines",NaCl,-2.1\n,??,0\n"a ""quote""",KCl,-2.2\n'
    reference = read_reference(write(tmp_path / "a.csv", data))
    assert energies(reference) == {"ClNa": -2.1, "ClK": -2.2}
    assert [row.split(":")[0] for row in reference.bad_rows] == ["row 3"]


def test_isotopes_count_as_their_element(tmp_path: Path) -> None:
    reference = read_reference(write(tmp_path / "a.csv", HEAD + "D2O,-0.9\nH2O,-0.8\nDyO,-1\nT2O,-0.7\n"))
    assert energies(reference) == {"H2O": -0.9, "DyO": -1.0}
    assert reference.report["rows_with_isotopes"] == 2


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", LFS, "is a Git LFS pointer, not the data; fetch it with 'git lfs pull'"),
        ("a.csv.gz", LFS, "is a Git LFS pointer, not the data; fetch it with 'git lfs pull'"),
        ("a.json", LFS, "is a Git LFS pointer, not the data; fetch it with 'git lfs pull'"),
        (
            "a.csv.gz",
            gzip.compress(HEAD.encode() * 9999, mtime=0)[:-20],
            "is a damaged or truncated gzip file; fetch it again",
        ),
        (
            "a.json.gz",
            gzip.compress(b"[]" * 9999, mtime=0)[:-20],
            "is a damaged or truncated gzip file; fetch it again",
        ),
        ("a.csv.gz", b"\x1f\x8b\x08\x00" + b"x" * 99, "is a damaged or truncated gzip file"),
        ("a.csv.xz", b"not xz", "is a damaged or truncated xz file"),
        ("a.csv.zip", b"not zip", "is a damaged or truncated compressed file"),
        ("a.csv", b"", "is empty; expected a header"),
        ("a.csv", "formula;formation_energy_per_atom\nNaCl;-2,1\n", "cells are separated by semicolons; write commas"),
        ("a.csv", "formula;formation_energy_per_atom\nNaCl;-2.1\n", "cells are separated by semicolons; write commas"),
        ("a.csv", HEAD + "KCl,-2\nNaCl,-2,1\n", "row 3 has 3 cells, more cells than the header with 2"),
        ("a.csv", HEAD + "NaCl,-2,1\n", "a decimal comma makes two cells of one number: write a decimal point"),
        ("a.csv", HEAD, "holds no usable row"),
        ("a.csv", "fromula,e\nNaCl,1\n", "expected a column 'formula'; did you mean 'fromula'?"),
        (
            "a.csv",
            "formula,formation_energy\nNaCl,1\n",
            "expected a column 'formation_energy_per_atom' with formation energies in eV/atom, got the columns "
            "formula, formation_energy; did you mean 'formation_energy'?",
        ),
        ("a.json", '[{"a": 1', "expected JSON, got an error"),
        ("a.json", '{"a": 1}', "expected a list of entries, got dict"),
        ("a.json", "[]", "holds no usable row"),
    ],
)
def test_damaged_files_are_diagnosed(tmp_path: Path, name: str, data: str | bytes, message: str) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(TableError) as error:
        read_reference(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.csv", HEAD)

    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(TableError, match=r"a\.csv: Permission denied; check its permissions"):
        read_reference(path)


def test_a_missing_file_and_another_hash(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="found none at"):
        read_reference(tmp_path / "absent.csv")
    with pytest.raises(TableError, match="found none at"):
        read_reference(tmp_path / "absent.json")
    path = write(tmp_path / "a.csv", HEAD + "NaCl,-2.1\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(read_reference(path, sha256=digest.upper())) == 1
    with pytest.raises(ReferenceTableError, match=f"to have SHA-256 {'0' * 64}, got {digest}; fetch the file again"):
        read_reference(path, sha256="0" * 64)


def rock_salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def corrected() -> list[Any]:
    """Elements, two polymorphs of NaCl, one with its correction, and a PDEntry."""
    return [
        ComputedEntry("Na2", -2.6),
        ComputedEntry("Na", -1.0),  # a higher polymorph
        ComputedEntry("Cl2", -3.6),
        ComputedEntry(
            "Na2Cl2",
            -13.0,
            energy_adjustments=[
                ConstantEnergyAdjustment(-0.2),
                CompositionEnergyAdjustment(-0.5, 2, uncertainty_per_atom=0.0, name="Cl"),
            ],
        ),
        ComputedStructureEntry(rock_salt(), -26.0, correction=-1.0),
        PDEntry("Na3Cl", -6.4),
    ]


def test_entries_of_pymatgen_give_the_formation_energies_that_pymatgen_gives(tmp_path: Path) -> None:
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    entries = corrected()
    path = write(tmp_path / "a.json", json.dumps([entry.as_dict() for entry in entries]))
    diagram = PhaseDiagram(entries)
    ours = energies(read_reference(path))
    assert ours.keys() == {"Na", "Cl", "ClNa", "ClNa3"}
    for formula, energy in ours.items():
        expected = min(
            diagram.get_form_energy_per_atom(e)
            for e in entries
            if dict(e.composition.element_composition.reduced_composition)
            == dict(PDEntry(formula, 0).composition.reduced_composition)
        )
        assert energy == pytest.approx(expected, abs=1e-12)
    zipped = write(tmp_path / "a.json.gz", gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_reference(zipped).energies, read_reference(path).energies)


def test_a_missing_elemental_entry_is_named(tmp_path: Path) -> None:
    entries = [entry.as_dict() for entry in corrected() if entry.composition.reduced_formula != "Cl2"]
    path = write(tmp_path / "a.json", json.dumps(entries))
    with pytest.raises(ReferenceTableError, match=r"found none for Cl, which entry 3 \(Na2Cl2\) needs; add the elem"):
        read_reference(path)
    assert len(read_reference(path, energies=False)) == 3


def test_documents_of_mp_api(tmp_path: Path) -> None:
    documents = [
        {"formula_pretty": "NaN", "formation_energy_per_atom": 0.3, "energy_per_atom": -5.0, "material_id": "mp-1"},
        {"formula_pretty": "Fe2O3", "composition": {"Fe": 4.0, "O": 6.0}, "formation_energy_per_atom": -1.7},
        {"composition": {"Fe3+": 2, "O2-": 3}, "formation_energy_per_atom": -1.6},
        {"formula_pretty": "MgO", "energy_per_atom": -6.0},
        {"formula_pretty": "Mg", "energy_per_atom": -1.5},
        {"formula_pretty": "O2", "energy_per_atom": -5.0},
        {"composition": "CaO", "formation_energy_per_atom": -3.3},
    ]
    for content in (documents, {"data": documents}, {"entries": documents}):
        reference = read_reference(write(tmp_path / "a.json", json.dumps(content)))
        assert energies(reference) == pytest.approx(
            {"NNa": 0.3, "Fe2O3": -1.7, "MgO": -6.0 + 6.5 / 2, "Mg": 0.0, "O": 0.0, "CaO": -3.3}
        )
        assert reference.bad_rows == ()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("NaCl", "no energy"),
        ({}, "expected a formula"),
        ({"composition": {"Na": 0.5, "Cl": 1}, "formation_energy_per_atom": -1}, "got 0.5 Na"),
        ({"composition": {"Na": 1, "Cl": 0}, "formation_energy_per_atom": -1}, "got 0 Cl"),
        ({"composition": {"Xx": 1}, "formation_energy_per_atom": -1}, "got 'Xx'"),
        ({"composition": {"Na": None}, "formation_energy_per_atom": -1}, "expected a formula"),
        ({"composition": {"Na": 1, "Cl": 1}}, "no energy"),
        ({"composition": {"Na": 1, "Cl": 1}, "energy": float("nan")}, "no energy"),
        ({"formula_pretty": "NaCl", "formation_energy_per_atom": "-2,1"}, "write a decimal point"),
    ],
)
def test_bad_entries_are_set_aside(tmp_path: Path, entry: Any, reason: str) -> None:
    good = {"formula_pretty": "KCl", "formation_energy_per_atom": -2.2}
    reference = read_reference(write(tmp_path / "a.json", json.dumps([good, entry])))
    assert energies(reference) == {"ClK": -2.2}
    assert reference.bad_rows[0].startswith("entry 2: ")
    assert reason in reference.bad_rows[0]


AMOUNTS = st.sampled_from(["", "1", "2", "12", "0", "05", "9999", "10000", "1.5", "٣"])
PLAIN = st.lists(st.tuples(st.sampled_from([*symbols()[1:], "D", "T", "Xx", "n"]), AMOUNTS), max_size=5)


@given(PLAIN)
def test_the_fast_path_reads_as_the_parser_reads(terms: list[tuple[str, str]]) -> None:
    text = "".join(symbol + amount for symbol, amount in terms)
    outcomes = []
    for read in (parse_formula, read_formula):
        try:
            outcomes.append(read(text))
        except FormulaError as failure:
            outcomes.append(str(failure))
    assert outcomes[0] == outcomes[1]
