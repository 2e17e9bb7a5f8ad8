"""`oreflow fit-energy`: a card whose command gives the same weights, and what cannot be fitted."""

import json
import shlex
from pathlib import Path

import pytest

from tests.support.cli import done, refused


@pytest.fixture
def band_gaps(tmp_path: Path) -> Path:
    metals, anions = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Zn"), ("F", "Cl", "Br", "O", "S")
    rows = [f"{m}{i}{x}{j},{i + 0.5 * j}" for m in metals for x in anions for i in (1, 2) for j in (1, 3)]
    path = tmp_path / "gaps.csv"
    path.write_text("formula,band_gap\n" + "\n".join([*rows, "Si,1.1", 'GaAs,"1,4"', ""]) + "\n")
    return path


def test_fit_energy_fits_any_property(tmp_path: Path, band_gaps: Path) -> None:
    small = ("--members", 1, "--epochs", 2, "--quiet")
    options = ("--column", "band_gap", "--unit", "eV", "--source", "made up", "--cite", "A & B (2026)")
    assert done("fit-energy", band_gaps, "--out", tmp_path / "a", *options, *small).output == ""
    card = json.loads((tmp_path / "a" / "model.json").read_text(encoding="utf-8"))
    assert card["target"]["name"] == "band_gap"
    assert (card["target"]["unit"], card["target"]["formation_energy"]) == ("eV", False)
    assert (card["data"]["source"], card["citations"]) == ("made up", ["A & B (2026)"])
    assert card["fit"]["epochs_run"] == 2
    assert [bad["line"] for bad in card["data"]["bad_rows_first"]] == [163, 164]

    # The command of the card gives the same weights.
    assert card["command"].startswith("oreflow fit-energy gaps.csv --out a ")
    words = shlex.split(card["command"].replace("\\\n", " "))[2:]
    again = [band_gaps if w == "gaps.csv" else tmp_path / "b" if w == "a" else w for w in words]
    text = done("fit-energy", *again).stdout
    assert f"SHA-256 {card['weights_sha256']}" in text
    assert "line 163: '1,4' is not a number; write a decimal point instead of the comma" in text
    assert "model of band_gap written to" in text
    assert "161 of 163" in text


def test_fit_energy_refuses_what_it_cannot_fit(tmp_path: Path, band_gaps: Path) -> None:
    out = ("--out", tmp_path / "out")
    refused("expected a column 'formation_energy_per_atom'", "fit-energy", band_gaps, *out)
    energies = ("--column", "band_gap", "--formation-energy", "--unit", "kJ/mol")
    refused("expected formation energies in eV/atom", "fit-energy", band_gaps, *out, *energies)
    (tmp_path / "pointer.csv").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused("git lfs pull", "fit-energy", tmp_path / "pointer.csv", *out)
    assert not (tmp_path / "out").exists()
