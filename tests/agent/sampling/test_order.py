"""Tables of distinct candidates: rank by log R, and a first page of several chemistries."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import oreflow
from oreflow.agent.tables.formulas import read_table
from tests.support.cli import done

TERMS = [
    {"name": "energy_above_hull", "shape": {"kind": "below", "threshold": 0.2, "width": 0.1}},
    {"name": "complexity", "shape": {"kind": "minimise", "beta": 0.02}},
]
ELEMENTS = ["Li", "Y", "La", "Nd", "Er", "Mn", "O", "S", "F", "Cl", "Sn"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> oreflow.Run:
    config = {
        "schema_version": 1,
        "world": {"elements": ELEMENTS, "n_elements": [2, 3], "n_atoms": [2, 8]},
        "reward": {"terms": TERMS},
        "sampler": {"kind": "random", "steps": 1, "batch": 8},
    }
    return oreflow.train(config, tmp_path_factory.mktemp("order") / "run")


@pytest.fixture(scope="module")
def samples(run: oreflow.Run) -> Path:
    done("sample", run.path, "-n", 600, "--unique", "-q")
    return Path(run.path) / "samples"


def test_the_first_page_and_the_ranks(samples: Path) -> None:
    frame = pd.read_parquet(samples / "candidates.parquet")
    summary = json.loads((samples / "summary.json").read_text())
    decimals = summary["log_reward_decimals"]
    by_rank = frame.sort_values("rank")
    assert by_rank["rank"].tolist() == list(range(1, len(frame) + 1))
    rounded = by_rank["log_reward"].round(decimals).tolist()
    assert rounded == sorted(rounded, reverse=True)
    hull = by_rank["energy_above_hull_scored"].round(3).tolist()
    ties = [place for place in range(len(rounded) - 1) if rounded[place] == rounded[place + 1]]
    assert len(ties) > 100
    assert all(hull[place] <= hull[place + 1] for place in ties)

    rare = frame["chemsys"].str.split("-").map(lambda found: len({"Y", "La", "Nd", "Er"} & set(found)) > 1)
    by_log_r = by_rank.head(30)
    assert max(Counter(by_log_r["anion"]).values()) > 5 or rare[by_log_r.index].sum() > 3  # or nothing is shown
    page = frame.head(30)
    assert page["rank"].is_monotonic_increasing
    assert max(Counter(page["anion"]).values()) <= 5
    assert rare[page.index].sum() <= 3
    assert page["log_reward"].min() >= by_log_r["log_reward"].min() - 1.1
    assert frame["rank"].iloc[30:].is_monotonic_increasing
    told = summary["first_page"]
    assert told["anion_chemistries"] == dict(Counter(page["anion"]))
    assert (told["n_rows"], told["last_rank"]) == (30, page["rank"].max())
    assert told["n_rare_earth_mixtures"] == rare[page.index].sum()


def test_digits_follow_the_uncertainty_of_the_model(samples: Path) -> None:
    frame = pd.read_parquet(samples / "candidates.parquet")
    shape = {"threshold": 0.2, "width": 0.1}
    value, std = frame["energy_above_hull_scored"], frame["energy_above_hull_std"]

    def score(values: pd.Series) -> pd.Series:
        return -np.logaddexp(0.0, (values - shape["threshold"]) / shape["width"])

    moved = np.maximum(np.abs(score(value + std) - score(value)), np.abs(score(value - std) - score(value)))
    np.testing.assert_allclose(frame["log_reward_std"], moved, rtol=1e-9, atol=1e-12)
    decimals = 1 if moved.median() >= 0.1 else 2
    assert json.loads((samples / "summary.json").read_text())["log_reward_decimals"] == decimals
    shown = pd.read_csv(samples / "candidates.csv", dtype=str)
    assert shown["log_reward"].str.fullmatch(rf"-?\d+\.\d{{{decimals}}}").all()


def test_raw_draws_stay_in_their_order(run: oreflow.Run, tmp_path: Path) -> None:
    rows = oreflow.sample(run, 50, seed=3, out=tmp_path / "out")
    assert "rank" not in rows.columns
    assert oreflow.sample(run, 50, seed=3)["formula"].tolist() == rows["formula"].tolist()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["first_page"] is None
    pd.testing.assert_frame_equal(read_table(tmp_path / "out" / "candidates.csv").reset_index(drop=True), rows)


def test_ties_of_crystals_go_by_their_hull(tmp_path: Path) -> None:
    config = {
        "schema_version": 1,
        "world": {
            "kind": "wyckoff",
            "space_groups": [221, 225],
            "elements": ["Sr", "Ti", "O", "Na", "Cl", "Mn"],
            "n_elements": [2, 3],
            "n_atoms": [2, 5],
            "geometry": False,
        },
        "reward": {
            "terms": [
                {"name": "crystal_energy_above_hull", "shape": {"kind": "below", "threshold": 0.2, "width": 0.5}},
                {"name": "eigensymmetry", "shape": {"kind": "verdict", "log_penalty": 3.0}},
            ]
        },
        "sampler": {"kind": "random", "steps": 1, "batch": 8},
    }
    run = oreflow.train(config, tmp_path / "run")
    done("sample", run.path, "-n", 150, "--unique", "-q")
    samples = Path(run.path) / "samples"
    by_rank = pd.read_parquet(samples / "candidates.parquet").sort_values("rank")
    decimals = json.loads((samples / "summary.json").read_text())["log_reward_decimals"]
    rounded = by_rank["log_reward"].round(decimals).tolist()
    hull = by_rank["crystal_energy_above_hull_scored"].round(3).tolist()
    ties = [place for place in range(len(rounded) - 1) if rounded[place] == rounded[place + 1]]
    assert len(ties) > 20
    assert all(hull[place] <= hull[place + 1] for place in ties)
    assert "crystal_energy_above_hull_std" in pd.read_csv(samples / "candidates.csv").columns
