"""Summaries in the reward's own terms: medians and shares are those of the table, and the verdict follows them."""

import json
from pathlib import Path

import numpy as np
import pytest

import oreflow
from oreflow.agent.sampling.wishes import in_lines

TERMS = [
    {"name": "formation_energy", "shape": {"kind": "below", "threshold": -2.2, "width": 0.2}},
    {"name": "electronegativity_balance", "shape": {"kind": "verdict", "log_penalty": 2.0}},
    {"name": "complexity", "shape": {"kind": "minimise", "beta": 0.1}},
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, oreflow.Run, Path]:  # type: ignore[type-arg]
    folder = tmp_path_factory.mktemp("wishes")
    config = {
        "schema_version": 1,
        "world": {"elements": ["Li", "Fe", "O", "S"], "n_elements": [2, 3], "n_atoms": [2, 8]},
        "reward": {"terms": TERMS},
        "sampler": {"kind": "random", "steps": 1, "batch": 8},
    }
    run = oreflow.train(config, folder / "run")
    oreflow.sample(run, 80, seed=1, out=folder / "out")
    return json.loads((folder / "out" / "summary.json").read_text()), run, folder / "out"


def test_medians_and_shares_are_those_of_the_table(drawn: tuple) -> None:  # type: ignore[type-arg]
    import pandas as pd

    summary, _, out = drawn
    rows = pd.read_parquet(out / "candidates.parquet")
    energy, balanced, complexity = summary["wishes"]
    assert [wish["term"] for wish in summary["wishes"]] == [term["name"] for term in TERMS]
    low = rows["formation_energy_ev_per_atom"] <= -2.2
    column = rows.columns[rows.columns.get_loc("electronegativity_balance_valid") - 1]
    yes = rows[column] == 1
    assert energy["median"] == pytest.approx(np.median(rows["formation_energy_ev_per_atom"]))
    assert energy["share"] == pytest.approx(low.mean())
    assert (energy["unit"], energy["wish"]) == ("eV/atom", "at most -2.2 eV/atom")
    assert (balanced["median"], balanced["share"]) == (None, pytest.approx(yes.mean()))
    assert complexity["share"] is None
    assert complexity["median"] == pytest.approx(np.median(rows["complexity_nats"]))
    assert summary["share_meeting_all"] == pytest.approx((low & yes).mean())
    assert 0 < summary["share_meeting_all"] < 1


def test_the_verdict_names_what_fails_most(drawn: tuple) -> None:  # type: ignore[type-arg]
    summary, _, _ = drawn
    shares = {wish["term"]: wish["share"] for wish in summary["wishes"] if wish["share"] is not None}
    worst = min(shares, key=lambda term: shares[term])
    assert summary["share_meeting_all"] < 0.5  # or the verdict would name nothing
    assert f"{worst.replace('_', ' ')} fails most often ({shares[worst]:.0%} satisfy it)" in summary["worth_reading"]
    lines = in_lines(summary)
    assert lines[0].startswith("formation energy")
    assert "at most -2.2 eV/atom" in lines[0]
    assert lines[-2].startswith("all of these")
    assert lines[-2].endswith(f"{summary['share_meeting_all']:.1%}")
    assert lines[-1] == f"{'verdict':26s} {summary['worth_reading']}"


def test_the_summary_says_how_many_rows_the_reference_lacks(drawn: tuple, tmp_path: Path) -> None:  # type: ignore[type-arg]
    summary, run, _ = drawn
    assert "share_novel" not in summary  # which was drawn without a reference
    (tmp_path / "known.csv").write_text("formula\nFeS\nFeO\nLi2O\nFe2O3\nLi2S\n")
    rows = oreflow.sample(run, 80, seed=1, out=tmp_path / "out", reference=tmp_path / "known.csv")
    known = rows["formula_reduced"].isin(["FeS", "FeO", "Li2O", "Fe2O3", "Li2S"])
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["share_novel"] == pytest.approx((~known).mean())
    assert 0 < known.sum() < len(rows)
    assert found["n_reference"] == 5
    assert f"{'novel':26s} {found['share_novel']:.1%} not among 5 of the reference" in in_lines(found)
