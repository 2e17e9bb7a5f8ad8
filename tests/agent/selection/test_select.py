"""Distances against scipy's, picks against brute force, and portfolios against the best rows of their tables."""

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance

from oreflow.agent.selection.pettifor import element_movers_distances, pettifor_numbers
from oreflow.agent.selection.select import select
from oreflow.agent.selection.spread import spread_out
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from tests.support.cli import done, refused

# From ElMD's and others' tables of the modified Pettifor scale.
NUMBERS = {"He": 0, "Li": 11, "Ca": 15, "Y": 20, "La": 31, "Sc": 47, "Ti": 50, "Fe": 70, "Cu": 67, "Mn": 71, "Zn": 73}
NUMBERS |= {"Al": 77, "Si": 84, "C": 86, "N": 87, "P": 88, "Te": 93, "O": 96, "I": 98, "Cl": 100, "F": 101, "H": 102}


def formulas(*texts: str) -> Compositions:
    compositions, _, errors = parse_formulas(texts)
    assert not any(errors)
    return compositions


def random_formulas(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        elements = rng.choice(symbols()[1:95], size=rng.integers(1, 5), replace=False)
        out.append("".join(f"{element}{rng.integers(2, 9)}" for element in elements))
    return out


def test_the_scale() -> None:
    numbers = dict(zip(symbols(), pettifor_numbers().tolist()))
    assert {symbol: numbers[symbol] for symbol in NUMBERS} == NUMBERS
    assert sorted(pettifor_numbers()[1:104].tolist()) == list(range(103))
    assert numbers["Rf"] == numbers["Hf"]
    assert numbers["Og"] == numbers["Rn"]


def test_formulas_are_written_as_in_the_table_for_people(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula,log_reward\nSi2Al2Ca,-1\nCoO2Li,-1\nCaH2O2,-1\n")
    found = select(tmp_path / "t.csv", 3).table
    assert sorted(found["formula_selected"]) == ["Ca(OH)2", "CaAl2Si2", "LiCoO2"]


def test_distances_are_scipys() -> None:
    ones, others = formulas(*random_formulas(40, 0)), formulas(*random_formulas(30, 1))
    found = element_movers_distances(ones, others)
    scale = pettifor_numbers()
    for i, j in itertools.product(range(40), range(30)):
        a, b = ones.atomic_numbers[i], others.atomic_numbers[j]
        n, m = ones.counts[i], others.counts[j]
        expected = wasserstein_distance(scale[a[n > 0]], scale[b[m > 0]], n[n > 0], m[m > 0])
        assert found[i, j] == pytest.approx(expected, abs=1e-9)
    assert element_movers_distances(formulas("LiF"), formulas("NaF", "Li2F2"))[0].tolist() == [0.5, 0.0]


@pytest.mark.parametrize(("far", "tried"), [(1.0, 1), (0.7, 8)])
def test_picks_are_far_apart_and_bring_the_others_near(far: float, tried: int) -> None:
    batch = formulas(*random_formulas(120, 2))
    distances = element_movers_distances(batch, batch)
    may = np.arange(120) % 3 != 1
    group = np.arange(120) // 2
    picks, owner, nearest = spread_out(batch, 10, may, group, far, tried)
    chosen = [0]
    while len(chosen) < 10:
        free = [i for i in range(120) if may[i] and group[i] not in group[chosen]]
        farthest = max(distances[i, chosen].min() for i in free)
        far_enough = [i for i in free if distances[i, chosen].min() >= far * farthest][:tried]
        left = {i: distances[:, [*chosen, i]].min(axis=1).sum() for i in far_enough}
        chosen.append(min(far_enough, key=lambda i: (round(left[i], 9), i)))
    assert picks.tolist() == chosen
    np.testing.assert_array_equal(owner, distances[:, chosen].argmin(axis=1))
    np.testing.assert_allclose(nearest, distances[:, chosen].min(axis=1))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten thousand candidates whose best ones are alike, as those of a trained sampler are."""
    rng = np.random.default_rng(3)
    texts = list(dict.fromkeys(random_formulas(10_400, 4)))[:9_900]
    alike = [
        f"{a}{i}{b}{j}O{k}"
        for a in ("Li", "Na")
        for b in ("Mn", "Fe")
        for i in (1, 2)
        for j in (1, 2, 3)
        for k in (3, 4, 5, 6)
    ]
    rows = pd.DataFrame(
        {
            "formula": texts + alike,
            "log_reward": np.r_[-rng.gamma(2, 2.0, len(texts)), rng.normal(-0.3, 0.1, len(alike))],
        }
    )
    rows["chemsys"] = "unused"
    rows["energy"] = rng.normal(0, 1, len(rows))
    path = tmp_path / "table.csv"
    rows.sample(frac=1.0, random_state=0).to_csv(path, index=False)
    return path


def test_twice_as_far_apart_and_within_one_nat(table: Path) -> None:
    select(table, 3, by=["log_reward"])  # compiles
    started = time.process_time()
    found = select(table, 20, by=["log_reward"])
    assert time.process_time() - started < 5.0
    figures = found.figures
    assert figures["mean_nearest_distance"] > 2 * figures["mean_nearest_distance_of_best"] > 0
    assert figures["mean_quality"] > figures["mean_quality_of_best"] - 1.0
    frame = pd.read_csv(table, keep_default_na=False).sort_values("log_reward", ascending=False, kind="stable")
    assert figures["mean_quality_of_best"] == pytest.approx(frame["log_reward"].head(20).mean())
    assert found.table["quality"].is_monotonic_decreasing
    assert found.table["log_reward"].tolist() == found.table["quality"].tolist()
    assert found.table["quality"].iloc[0] == frame["log_reward"].max()
    assert found.table["stands_for"].sum() == len(frame)
    picks = formulas(*found.table["formula"])
    owners = element_movers_distances(formulas(*frame["formula"]), picks).argmin(axis=1)
    # Rows that are equally near to two picks may count for either.
    assert np.abs(np.bincount(owners, minlength=20) - found.table["stands_for"]).sum() < 0.02 * len(frame)


def test_one_per_chemical_system_and_several_columns(table: Path) -> None:
    found = select(table, 30, by=["log_reward", "-energy"], within=1.5, one_per="chemsys")
    systems = [frozenset(row) for row in formulas(*found.table["formula"]).atomic_numbers.tolist()]
    assert len(set(systems)) == len(systems) == 30
    frame = pd.read_csv(table, keep_default_na=False)
    standard = [(frame[c] - frame[c].mean()) / frame[c].std(ddof=0) for c in ("log_reward", "energy")]
    quality = (standard[0] - standard[1]) / 2
    best = frame.assign(quality=quality).sort_values("quality", ascending=False)
    assert found.table["quality"].iloc[0] == pytest.approx(best["quality"].iloc[0])
    assert found.table["quality"].min() >= best["quality"].head(30).mean() - 1.5


def test_command_files_and_known_compounds(table: Path, tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("formula\nNaMnO2\nLi2O\nCu\n")
    out = tmp_path / "picked"
    arguments = ("select", table, "-n", 5, "--reference", tmp_path / "known.csv", "--out", out)
    result = done(*arguments)
    assert "stands for" in result.stdout
    frame = pd.read_csv(out / "selected.csv")
    assert list(frame.columns[:6]) == [
        *("formula_selected", "quality", "stands_for", "nearest_pick", "nearest_known", "distance_to_known"),
    ]
    distances = element_movers_distances(formulas(*frame["formula"]), formulas("NaMnO2", "Li2O", "Cu"))
    np.testing.assert_allclose(frame["distance_to_known"], distances.min(axis=1))
    assert frame["nearest_known"].tolist() == [["NaMnO2", "Li2O", "Cu"][i] for i in distances.argmin(axis=1)]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["n_rows"] == len(pd.read_csv(table))
    refused("holds results already", *arguments)
    data = json.loads(done(*arguments[:4], "--json").stdout)
    assert [pick["formula_selected"] for pick in data["picks"]] == frame["formula_selected"].tolist()


def test_bad_input(table: Path, tmp_path: Path) -> None:
    refused("expected a column 'log_rewrd'", "select", table, "-n", 3, "--by", "log_rewrd")
    refused("expected numbers in the column 'chemsys'", "select", table, "-n", 3, "--by", "chemsys")
    refused("expected one of formula, chemsys, prototype", "select", table, "-n", 3, "--one-per", "colour")
    refused("expected a column 'protostructure'", "select", table, "-n", 3, "--one-per", "prototype")
    refused("holds no candidates yet", "select", tmp_path, "-n", 3)
    few = tmp_path / "few.csv"
    few.write_text("formula,log_reward\nNaCl,1\nwhat!,2\nKCl,\nNa2Cl2,0.9\nLiF,0.8\nMgO,-9\n")
    result = done("select", few, "-n", 4)
    assert "1 rows without a readable formula are left out; row 3:" in result.stdout
    assert "1 rows without a value of log_reward are left out" in result.stdout
    one = tmp_path / "one.csv"
    one.write_text("formula,log_reward\nNaCl,1\n")
    assert "NaCl" in done("select", one, "-n", 20).stdout
    none = tmp_path / "none.csv"
    none.write_text("formula,log_reward\n")
    refused("found none", "select", none, "-n", 2)


def test_of_each_group_one_pick(tmp_path: Path) -> None:
    texts = ["Li9O", "LiO9", "LiO", "NaO", "KO"]  # the three of Li and O are farther apart than all others
    path = tmp_path / "systems.csv"
    rows = pd.DataFrame({"formula": texts, "log_reward": [0.0, -0.1, -0.2, -0.3, -0.4]})
    rows.assign(protostructure=["a:Li-O", "b:Li-O", "b:Li-O", "b:Na-O", "a:K-O"]).to_csv(path, index=False)
    assert set(select(path, 3, one_per=None).table["formula"]) >= {"Li9O", "LiO9"}
    found = select(path, 5, one_per="chemsys")
    assert sorted(found.table["formula"]) == ["KO", "Li9O", "NaO"]
    assert "3 of 5" in found.notes[0]
    assert sorted(select(path, 5, one_per="prototype").table["formula"]) == ["Li9O", "LiO9"]


def test_little_choice_is_said(table: Path) -> None:
    assert "raise --within" not in " ".join(select(table, 20).notes)
    notes = select(table, 10, within=0.05).notes
    assert len(notes) == 1
    assert "rows are within 0.05 of the mean of the 10 best; for more variety raise --within" in notes[0]
