"""What the summary says of rows that are paid for being near a hull."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import oreflow
from tests.support.cli import done

WORLDS = {
    "energy_above_hull": {"kind": "composition", "elements": ["Li", "Fe", "O", "Cl"], "n_atoms": [2, 8]},
    "crystal_energy_above_hull": {
        "kind": "wyckoff",
        "elements": ["Li", "Fe", "O"],
        "space_groups": [221, 225],
        "n_atoms": [2, 5],
        "geometry": False,
    },
}


@pytest.mark.parametrize("term", WORLDS)
def test_median_and_shares_are_those_of_the_table(term: str, tmp_path: Path) -> None:
    config = {
        "schema_version": 1,
        "world": WORLDS[term] | {"neutrality": "off"},
        "reward": {"terms": [{"name": term, "shape": {"kind": "below", "threshold": 0.05, "width": 0.05}}]},
        "sampler": {"kind": "random", "steps": 1, "batch": 8},
    }
    run = oreflow.train(config, tmp_path / "run", quiet=True)
    rows = oreflow.sample(run, 60, seed=3, out=tmp_path / "out")
    above = rows[f"{term}_ev_per_atom"].to_numpy(dtype=float)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["median_energy_above_hull_ev_per_atom"] == pytest.approx(np.nanmedian(above))
    assert found["share_within_0.05_ev_per_atom_of_hull"] == pytest.approx((above <= 0.05).mean())
    assert found["share_far_below_hull"] == pytest.approx((above < -0.1).mean())
    assert 0 < found["share_within_0.05_ev_per_atom_of_hull"] < 1


def test_mixtures_of_known_phases_are_counted_and_one_is_shown(tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text("formula,formation_energy_per_atom\nMgO,-3.0\nCaO,-3.3\n")
    term = {"name": "energy_above_hull", "params": {"reference": str(known)}}
    config = {
        "schema_version": 1,
        "world": {"elements": ["Mg", "Ca", "O"], "n_elements": [2, 3], "n_atoms": [2, 8]},
        "reward": {"terms": [term | {"shape": {"kind": "minimise", "beta": 1.0}}]},
        "sampler": {"kind": "random", "steps": 1, "batch": 8},
    }
    oreflow.train(config, tmp_path / "run", quiet=True)
    said = done("sample", tmp_path / "run", "-n", 30, "--out", tmp_path / "out").output
    rows = pd.read_parquet(tmp_path / "out" / "candidates.parquet")
    between = rows["decomposition"].str.fullmatch(r"\S+ (MgO|CaO) \+ \S+ (MgO|CaO)")
    assert 0 < between.sum() < len(rows)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found["share_mixtures"] == pytest.approx(between.mean())
    assert found["mixture_example"] == rows["decomposition"][between].iloc[0]
    assert f"mixtures of known phases   {between.mean():.1%} of the rows, such as {found['mixture_example']}:" in said
