"""Anybody's samples: the same crystals as CIFs, extended XYZ, archives and relaxed tables give the same figures."""

import json
import zipfile
from pathlib import Path
from typing import Any

import ase.io
import pandas as pd
import pytest
from pymatgen.io.ase import AseAtomsAdaptor

from oreflow.agent.judging.inputs import is_judged
from oreflow.agent.judging.judge import Rule
from oreflow.agent.judging.known_structures import KnownStructures
from oreflow.agent.judging.report import report
from tests.agent.judging.samples import KNOWN, ROWS, reference, relaxed
from tests.support.cli import done, refused

NAMES = ("known", "twin", "substituted", "unstable", "new")
SAME = ("unique", "novel", "novel_prototype", "formula_not_listed", "valid", "neutral", "smact_valid", "symmetric")


def figures(path: Path, known: Path, n_sampled: int | None = None) -> dict[str, int]:
    found = report(path, Rule(known, n_sampled=n_sampled)).metrics
    assert found["n_sampled"] == (n_sampled or 5)
    assert "stable" not in found["figures"]
    assert "sun" not in found["figures"]
    assert any("no energies" in note and "oreflow relax" in note for note in found["notes"])
    return {key: found["figures"][key]["count"] for key in SAME}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cifs").mkdir()
    for name in NAMES:
        ROWS[name][0].to(filename=str(tmp_path / "cifs" / f"{name}.cif"))
    return tmp_path / "cifs"


@pytest.mark.kind("samples of others")
def test_all_formats_give_the_same_figures(tmp_path: Path, folder: Path) -> None:
    known = reference(tmp_path)
    expected = {"unique": 4, "novel": 4, "novel_prototype": 1, "formula_not_listed": 4, "valid": 5, "neutral": 5}
    expected |= {"smact_valid": 5, "symmetric": 5}
    assert figures(folder, known) == expected
    atoms = [AseAtomsAdaptor.get_atoms(ROWS[name][0]) for name in NAMES]
    ase.io.write(tmp_path / "sample.extxyz", atoms)
    assert figures(tmp_path / "sample.extxyz", known) == expected
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as archive:
        for name in NAMES:
            archive.write(folder / f"{name}.cif", f"inside/{name}.cif")
    assert figures(tmp_path / "sample.zip", known) == expected
    of_table = report(relaxed(tmp_path / "r", NAMES), Rule(known)).metrics["figures"]
    assert {key: of_table[key]["count"] for key in SAME} == expected
    (folder / "broken.cif").write_text("data_x\n")  # a failure stays in the denominator
    assert figures(folder, known, 6) == expected
    assert report(folder, Rule(known)).metrics["figures"]["novel"]["share"] == 4 / 6


@pytest.mark.kind("samples of others")
def test_the_reference_may_be_files_too(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "known").mkdir()
    for name, structure in KNOWN.items():
        structure.to(filename=str(tmp_path / "known" / f"{name}.cif"))
    assert figures(folder, tmp_path / "known") == figures(folder, reference(tmp_path))
    encoded = tmp_path / "encoded.csv"
    done("encode", tmp_path / "known", "--out", encoded)
    assert figures(folder, encoded) == figures(folder, reference(tmp_path))
    assert KnownStructures(encoded).by_formula == KnownStructures(reference(tmp_path)).by_formula


def test_a_reference_is_parsed_only_where_it_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownStructures(reference(tmp_path))
    assert known._made == {}
    assert sorted(known.ids[row] for row in known.by_formula[((11, 1), (17, 1))]) == ["mp-1"]
    known.structure(0)
    assert set(known._made) == {0}
    assert sorted(known.space_groups.tolist()) == [136, 216, 221, 225, 225]
    assert set(known._made) == {0}  # the walk through all of them leaves none behind
    frame = pd.read_csv(tmp_path / "known.csv")
    frame.loc[1, "sites"] = "Sr 0 0"
    frame.loc[2, "sites"] = "K 0 0 zero; Cl 0.5 0.5 0.5"
    frame.to_csv(tmp_path / "known.csv", index=False)
    broken = KnownStructures(tmp_path / "known.csv")
    assert len(broken.space_groups) == 3
    assert broken.n_unreadable == 2


def test_the_verb_tells_crystals_from_formulas(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "formulas.csv").write_text("formula\nNaCl\nMgO\n")
    assert [is_judged(path) for path in (folder, folder / "new.cif", tmp_path / "formulas.csv")] == [True, True, False]
    assert is_judged(relaxed(tmp_path / "r", NAMES))
    assert not is_judged(tmp_path / "missing.csv")
    assert "share_neutral" in done("evaluate", tmp_path / "formulas.csv").output
    printed: Any = done("evaluate", folder, "--json")
    assert json.loads(printed.stdout)["figures"]["unique"]["count"] == 4
    assert (tmp_path / "cifs_metrics.json").is_file()
    assert (tmp_path / "cifs_judged.csv").is_file()
    (tmp_path / "hull.csv").write_text("formula,formation_energy_per_atom\nNaCl,-2.1\n")
    refused(
        "holds structures without energies, which a hull needs", "evaluate", folder, "--hull", tmp_path / "hull.csv"
    )
