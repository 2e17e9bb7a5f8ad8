"""`oreflow realise`: the table, its folder, what goes on after an interruption, and what bad input costs."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.agent.realisation import ranking, run
from oreflow.agent.realisation.geometries import Settings
from oreflow.agent.realisation.inputs import read_rows, table_of
from oreflow.agent.realisation.run import JOURNAL_FILE, realise_to_folder
from oreflow.agent.relaxation.inputs import read_candidates
from oreflow.agent.tables.formulas import read_table
from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.envs.structure_io.encode import encode_structure
from oreflow.rewards.errors import MissingPackageError
from tests.support.cli import done, oreflow, refused

SALT = '{"sg":225,"lattice":null,"sites":[["a","Na",null],["b","Cl",null]]}'
RUTILE = '{"sg":136,"lattice":null,"sites":[["a","Ti",null],["f","O",null]]}'
RADON = '{"sg":225,"lattice":null,"sites":[["a","Na",null],["b","Rn",null]]}'
GIVEN = '{"sg":225,"lattice":[4.2,4.2,4.2,90.0,90.0,90.0],"sites":[["a","Mg",[]],["b","O",[]]]}'
QUICK = Settings(effort=0.1)


def write_table(path: Path, texts: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["candidate_id", "n_times_sampled", "log_reward", "formula_reduced", "structure"])
        writer.writerows([f"c{i}", i + 1, -0.5 - i, "stale", text] for i, text in enumerate(texts))
    return path


def table(folder: Path, name: str = "realised.csv") -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_of_decorations_becomes_one_of_geometries_and_bad_rows_cost_themselves(tmp_path: Path) -> None:
    source = write_table(tmp_path / "t.csv", [RUTILE, "nonsense", GIVEN, RADON, "", SALT])
    out = tmp_path / "out"
    result = oreflow("realise", source, "--out", out, "--rank", "contacts", "--effort", 0.1)
    assert result.exit_code == 0, result.output
    rows = table(out)
    names = ["c0-1", "c0-2", "c2", "c5-1"]  # rutile has two free parameters, rock salt none
    assert [row["candidate_id"] for row in rows] == names
    assert [row["decoration_id"] for row in rows] == ["c0", "c0", "c2", "c5"]
    assert [row["geometry_rank"] for row in rows] == ["1", "2", "1", "1"]
    assert [row["geometry"] for row in rows] == ["realised", "realised", "given", "realised"]
    assert [row["n_free_parameters"] for row in rows] == ["2", "2", "", "0"]
    assert [row["n_times_sampled"] for row in rows] == ["1", "1", "3", "6"]
    assert [row["log_reward"] for row in rows] == ["-0.5", "-0.5", "-2.5", "-5.5"]  # no quote before the sign
    assert [row["formula_reduced"] for row in rows] == ["O2Ti", "O2Ti", "MgO", "ClNa"]  # and not what the table said
    assert [row["space_group_number"] for row in rows] == ["136", "136", "225", "225"]
    assert rows[2]["structure"] == GIVEN
    for row in rows:
        (structure,) = [
            c.structure for c in read_candidates([out / "realised.csv"]) if c.candidate_id == row["candidate_id"]
        ]
        assert float(row["volume_a3_per_atom"]) == pytest.approx(structure.volume / len(structure), rel=1e-6)
        from_cif = encode_structure(_read_cif(out / "cif" / f"{row['candidate_id']}.cif"))
        assert from_cif.space_group.tolist() == [int(row["space_group_number"])]
    # rock salt: Na-Cl at half of a, over the sum of the radii 1.66 and 1.02
    a = crystal_from_text([rows[3]["structure"]]).lattice[0, 0]
    assert float(rows[3]["contact_ratio"]) == pytest.approx(a / 2 / 2.68, rel=1e-6)
    failed = table(out, "not_realised.csv")
    assert [(row["decoration_id"], row["row"]) for row in failed] == [("c1", "3"), ("c3", "5"), ("c4", "6")]
    assert "expected a structure as" in failed[0]["reason"]
    assert "too few crystals of Rn are known" in failed[1]["reason"]
    assert failed[2]["reason"] == "the column 'structure' is empty"
    summary = json.loads((out / "summary.json").read_text())
    counts = {name: summary[name] for name in ("n_decorations", "n_realised", "n_given", "n_failed", "n_geometries")}
    assert counts == {"n_decorations": 6, "n_realised": 2, "n_given": 1, "n_failed": 3, "n_geometries": 4}
    assert summary["interrupted"] is False


def _read_cif(path: Path) -> Any:
    from pymatgen.core import Structure

    return Structure.from_file(str(path))


def test_rows_with_a_geometry_are_searched_only_when_asked(tmp_path: Path) -> None:
    source = write_table(tmp_path / "t.csv", [GIVEN])
    result = realise_to_folder(source, tmp_path / "out", QUICK, anew=True, quiet=True)
    assert (result["n_given"], result["n_realised"]) == (0, 1)
    (row,) = table(tmp_path / "out")
    assert (row["candidate_id"], row["geometry"]) == ("c0-1", "realised")
    assert row["structure"] != GIVEN


def test_an_interruption_keeps_what_was_done_and_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_table(tmp_path / "t.csv", [SALT, RUTILE, GIVEN.replace("Mg", "Ca"), SALT])
    find, seen = run.find_geometries, []

    def stopped(decoration: Any, *rest: Any) -> Any:
        seen.append(int(decoration.space_group[0]))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return find(decoration, *rest)

    monkeypatch.setattr(run, "find_geometries", stopped)
    first = realise_to_folder(source, tmp_path / "out", QUICK, quiet=True)
    assert (first["interrupted"], first["n_done"]) == (True, 3)  # the twin of the first, too, and what was given
    assert [row["candidate_id"] for row in table(tmp_path / "out")] == ["c0-1", "c2", "c3-1"]
    journal = tmp_path / "out" / JOURNAL_FILE
    with journal.open("ab") as file:  # as when the process is killed within a line
        file.write(b'{"key": "abc", "geom')
    second = realise_to_folder(source, tmp_path / "out", QUICK, quiet=True)
    assert seen == [225, 136, 136]  # nothing twice but what was cut short
    assert (second["interrupted"], second["n_resumed"], second["n_done"]) == (False, 2, 4)
    whole = realise_to_folder(source, tmp_path / "whole", QUICK, quiet=True)
    assert whole["n_resumed"] == 0
    assert (tmp_path / "whole" / "realised.csv").read_bytes() == (tmp_path / "out" / "realised.csv").read_bytes()


def test_other_settings_need_another_folder_or_overwrite(tmp_path: Path) -> None:
    source, out = write_table(tmp_path / "t.csv", [SALT]), tmp_path / "out"
    arguments = ("realise", source, "--out", out, "--rank", "contacts", "--quiet")
    done(*arguments)
    refused("holds realisations with seed 0 (now 1); choose another folder, or --overwrite", *arguments, "--seed", 1)
    done(*arguments, "--seed", 1, "--overwrite")
    (out / "realised.csv").unlink()
    (out / ".oreflow-files.json").unlink()
    (out / "realised.csv").write_text("mine")
    refused("was not written by oreflow", *arguments, "--seed", 1)


def test_a_run_folder_stands_for_its_newest_samples(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    source = write_table(tmp_path / "samples" / "candidates.csv", [SALT, SALT])
    assert table_of(tmp_path) == table_of(tmp_path / "samples") == table_of(source) == source
    rows = read_rows(source, 1)
    assert [(row.decoration_id, row.number) for row in rows] == [("c0", 0)]
    text = source.read_text().replace("c1,", "C0,")
    source.write_text(text)
    assert [row.decoration_id for row in read_rows(source)] == ["c0", "C0_2"]  # one file, where case does not count


def test_bad_input_is_told_in_sentences(tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    refused("found nothing at", "realise", tmp_path / "none.csv", *out)
    refused("draw some with `oreflow sample", "realise", tmp_path, *out)
    formulas = tmp_path / "f.csv"
    formulas.write_text("formula\nNaCl\n")
    refused("expected a column 'structure'", "realise", formulas, *out)
    empty = write_table(tmp_path / "e.csv", ["nonsense"])
    refused("expected crystals in the column 'structure', found none", "realise", empty, *out)
    source = write_table(tmp_path / "t.csv", [SALT])
    refused("expected --rank to be chgnet or contacts, got 'dft'", "realise", source, *out, "--rank", "dft")
    refused("expected --effort from 0.01 to 1000, got 0", "realise", source, *out, "--effort", 0)
    only = write_table(tmp_path / "only.csv", [RADON])
    refused("1 without a geometry", "realise", only, *out, "--rank", "contacts")


def test_ranking_by_chgnet_asks_for_the_package_and_survives_what_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("chgnet")
    from pymatgen.core import Lattice, Structure

    rank = ranking.ranking("chgnet")
    assert rank is not None
    good = Structure(Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    lone = Structure(Lattice.cubic(30.0), ["Mg"], [[0, 0, 0]])
    alone, both = rank([good]), rank([good, lone])
    assert np.isnan(both[1])
    assert both[0] == pytest.approx(alone[0], abs=1e-5)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert ranking.default_rank() == "contacts"
    with pytest.raises(MissingPackageError, match=r"pip install 'oreflow\[chgnet\]'"):
        ranking.ranking("chgnet")
    with pytest.raises(ValueError, match="expected --rank to be chgnet or contacts"):
        ranking.ranking("energy")


def test_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    texts = [
        SALT.replace("Na", metal).replace("Cl", halide) for metal in ("Li", "Na", "K", "Rb") for halide in ("F", "Br")
    ]
    source = write_table(tmp_path / "t.csv", [*texts, RADON, SALT])
    tables = []
    for workers in (1, 2):
        realise_to_folder(source, tmp_path / str(workers), Settings(effort=0.02, rank="contacts"), workers=workers)
        tables.append([table(tmp_path / str(workers), name) for name in ("realised.csv", "not_realised.csv")])
    assert tables[0] == tables[1]
    assert len(tables[0][0]) == 9


def test_rows_of_raw_draws_stand_for_one_draw_each(tmp_path: Path) -> None:
    source = tmp_path / "raw.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["candidate_id", "n_times_sampled", "is_unique", "structure"])
        writer.writerows([["c0", 2, True, GIVEN], ["c1", 2, False, GIVEN], ["c2", 1, True, SALT]])
    assert [row.columns["n_times_sampled"] for row in read_rows(source)] == [1, 1, 1]
    assert [c.carried["n_times_sampled"] for c in read_candidates([source]) if c.structure is not None] == [1, 1]


def test_sample_finds_the_geometries_of_what_it_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "default_rank", lambda: "contacts")
    out = tmp_path / "drawn"
    result = oreflow("sample", "--prior", "decorations", "-n", 3, "--seed", 5, "--structures", "--out", out)
    assert result.exit_code == 0, result.output
    drawn = read_table(out / "candidates.csv").to_dict("records")
    realised = table(out / "realised")
    assert [row["decoration_id"] for row in realised] == [row["candidate_id"] for row in drawn]
    assert {row["geometry"] for row in realised} == {"realised"}
    assert f"geometries                 3: {out / 'realised'}" in result.output
    for found, row in zip(realised, drawn):
        crystal = crystal_from_text([found["structure"]])
        assert crystal.has_geometry.all()
        assert crystal.space_group.tolist() == [int(row["space_group_number"])]
        assert (out / "realised" / "cif" / f"{found['candidate_id']}.cif").is_file()


def test_sample_says_that_formulas_have_no_geometry(tmp_path: Path) -> None:
    out = tmp_path / "samples"
    expected = "candidates.csv: expected a column 'structure'"
    refused(expected, "sample", "--prior", "compositions", "-n", 3, "--structures", "--out", out)
    assert len(table(out, "candidates.csv")) == 3  # what was drawn is kept
