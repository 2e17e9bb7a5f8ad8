"""Fronts, budgets and clusters against brute force, and through the command line."""

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oreflow.agent.selection.clusters import cluster, sums_of_distances
from oreflow.agent.selection.fronts import beaten_by, budgeted, pareto_fronts
from oreflow.agent.selection.pettifor import cumulative_shares, element_movers_distances, nearest_of
from oreflow.agent.selection.select import select, select_front
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.compositions import Compositions
from tests.agent.selection.test_select import formulas, random_formulas
from tests.support.cli import done, refused


def beats(a: Floats, b: Floats) -> bool:
    return bool(all(x <= y for x, y in zip(a, b)) and any(x < y for x, y in zip(a, b)))


def fronts_by_hand(costs: Floats) -> list[list[int]]:
    left, fronts = list(range(len(costs))), []
    while left:
        front = [i for i in left if not any(beats(costs[j], costs[i]) for j in left)]
        fronts.append(front)
        left = [i for i in left if i not in front]
    return fronts


@pytest.mark.parametrize("n_terms", [2, 3, 4])
@pytest.mark.parametrize("values", [5, 1000])
def test_fronts_are_those_of_brute_force(n_terms: int, values: int) -> None:
    rng = np.random.default_rng(values + n_terms)
    costs = rng.integers(0, values, size=(150, n_terms)).astype(float)  # with few values many rows are equal
    by_hand = fronts_by_hand(costs)
    assert [front.tolist() for front in pareto_fronts(costs, 150)] == by_hand
    enough = len(by_hand[0]) + 1
    assert [front.tolist() for front in pareto_fronts(costs, enough)] == by_hand[:2]
    rows = np.arange(0, 150, 7)
    assert beaten_by(costs, rows).tolist() == [sum(beats(costs[i], costs[j]) for j in range(150)) for i in rows]


def far_by_hand(scaled: Floats, front: list[int], picks: list[int], n: int) -> list[int]:
    chosen: list[int] = []
    if not picks:
        for term in range(scaled.shape[1]):
            best = min(front, key=lambda i: (scaled[i, term], i))
            chosen += [best] if best not in chosen and len(chosen) < n else []
    while len(chosen) < n:
        before = [*picks, *chosen]
        left = [i for i in front if i not in chosen]
        chosen.append(max(left, key=lambda i: (min(np.linalg.norm(scaled[i] - scaled[j]) for j in before), -i)))
    return chosen


@pytest.mark.parametrize("n", [1, 4, 12, 30, 60])
def test_a_budget_takes_whole_fronts_and_spreads_over_the_last(n: int) -> None:
    rng = np.random.default_rng(n)
    costs = rng.normal(size=(80, 3))
    group = np.arange(80)
    picks, numbers = budgeted(costs, group, n)
    expected: list[int] = []
    for front in fronts_by_hand(costs):
        room = n - len(expected)
        if len(front) > room:
            low, high = costs[front].min(axis=0), costs[front].max(axis=0)
            front = far_by_hand((costs - low) / (high - low), front, expected, room)
        expected += front
        if len(expected) == n:
            break
    assert picks.tolist() == expected
    by_row = {row: number for number, front in enumerate(fronts_by_hand(costs), start=1) for row in front}
    assert numbers.tolist() == [by_row[row] for row in expected]


def test_of_each_group_one_row_of_its_best_front() -> None:
    rng = np.random.default_rng(5)
    costs, group = rng.normal(size=(200, 2)), rng.integers(0, 12, 200)
    picks, numbers = budgeted(costs, group, 50)
    assert sorted(group[picks].tolist()) == list(range(12))
    by_row = {row: number for number, front in enumerate(fronts_by_hand(costs), start=1) for row in front}
    for row, number in zip(picks.tolist(), numbers.tolist()):
        assert number == by_row[row] == min(by_row[i] for i in range(200) if group[i] == group[row])


def test_sums_of_distances_are_those_of_all_pairs() -> None:
    batch = formulas(*random_formulas(60, 7))
    distances = element_movers_distances(batch, batch)
    np.testing.assert_allclose(sums_of_distances(cumulative_shares(batch)), distances.sum(axis=1), atol=1e-9)


def test_the_nearest_of_others_whatever_fits_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    ones, others = formulas(*random_formulas(50, 9)), formulas(*random_formulas(7, 10))
    distances = element_movers_distances(ones, others)
    for most in (1, 30, 10_000):
        monkeypatch.setattr("oreflow.agent.selection.pettifor._MOST_DISTANCES", most)
        index, distance = nearest_of(ones, others)
        np.testing.assert_array_equal(index, distances.argmin(axis=1))
        np.testing.assert_array_equal(distance, distances.min(axis=1))


def families() -> tuple[Compositions, Ints]:
    """Three kinds of formulas that lie far apart: of alkalis, of transition metals, of non-metals."""
    symbols = [("Li", "Na", "K", "Rb"), ("Fe", "Co", "Ni", "Cr"), ("P", "As", "S", "Se")]
    kinds = [[f"{a}{i}{b}" for a, b in itertools.combinations(kind, 2) for i in (1, 2)] for kind in symbols]
    return formulas(*itertools.chain(*kinds)), np.repeat(np.arange(3), [len(kind) for kind in kinds])


def test_clusters_are_the_kinds() -> None:
    batch, kind = families()
    order = np.random.default_rng(3).permutation(len(batch))
    number, medoids = cluster(batch[order], 3)
    assert len(set(zip(number.tolist(), kind[order].tolist()))) == 3
    distances = element_movers_distances(batch[order], batch[order])
    # Of all choices of three rows this one has the least sum of distances to the nearest: the kinds are that clear.
    least = min(distances[:, list(rows)].min(axis=1).sum() for rows in itertools.combinations(range(len(batch)), 3))
    assert distances[:, medoids].min(axis=1).sum() == pytest.approx(least)
    assert len(cluster(formulas("NaCl", "Na2Cl2", "LiF"), 3)[1]) == 2


def test_no_member_of_a_cluster_is_a_better_medoid() -> None:
    batch = formulas(*random_formulas(90, 8))
    number, medoids = cluster(batch, 7)
    distances = element_movers_distances(batch, batch)
    np.testing.assert_array_equal(number, distances[:, medoids].argmin(axis=1))
    assert len(set(number.tolist())) == 7
    for place, medoid in enumerate(medoids.tolist()):
        members = np.flatnonzero(number == place)
        sums = distances[np.ix_(members, members)].sum(axis=1)
        assert sums[members.tolist().index(medoid)] == pytest.approx(sums.min())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(11)
    texts = list(dict.fromkeys(random_formulas(10_400, 12)))[:10_000]
    energy = rng.normal(-1.0, 0.5, len(texts))
    rows = pd.DataFrame({"formula": texts, "log_reward": rng.normal(0.0, 0.2, len(texts))})
    rows["energy_ev_per_atom"], rows["energy_valid"] = energy, True
    rows["gap_ev"] = 2.0 + energy + rng.normal(0.0, 0.5, len(texts))
    rows["price"] = rng.gamma(2.0, 20.0, len(texts))
    rows["name"] = "text"
    path = tmp_path / "table.csv"
    rows.to_csv(path, index=False)
    return path


def test_trade_offs_of_ten_thousand_rows(table: Path, tmp_path: Path) -> None:
    select_front(table, 3, "energy:min,gap_ev:max")  # compiles
    started = time.process_time()
    found = select_front(table, 20, "energy:min,gap_ev:max,price:min")
    assert time.process_time() - started < 5.0
    frame = pd.read_csv(table, keep_default_na=False)
    costs = np.stack([frame["energy_ev_per_atom"], -frame["gap_ev"], frame["price"]], axis=1)
    for row, (count, front) in zip(found.table["formula"], found.table[["beats", "front"]].to_numpy().tolist()):
        mine = costs[frame.index[frame["formula"] == row][0]]
        assert count == ((mine <= costs).all(axis=1) & (mine < costs).any(axis=1)).sum()
        assert front == 1
        assert not ((costs <= mine).all(axis=1) & (costs < mine).any(axis=1)).any()
    assert len(found.table) == 20
    best = frame.loc[frame["energy_ev_per_atom"].idxmin(), "formula"]
    text = found.table.set_index("formula")["best_in"][best]
    assert "energy_ev_per_atom" in text.split(", ")
    assert found.table["stands_for"].sum() == len(frame)
    spread = select_front(table, 20, "energy:min,gap_ev:max,price:min", spread="composition")
    assert spread.figures["mean_nearest_distance"] > found.figures["mean_nearest_distance"]


def test_fronts_by_the_command(table: Path, tmp_path: Path) -> None:
    (tmp_path / "known.csv").write_text("formula\nNaMnO2\nLi2O\nCu\n")
    arguments = ("select", table, "-n", 6, "--pareto", "energy:min,gap_ev:max", "--reference", tmp_path / "known.csv")
    result = done(*arguments, "--out", tmp_path / "picked")
    assert "best in" in result.stdout
    assert "6 picks: 6 of front 1" in result.stdout
    frame = pd.read_csv(tmp_path / "picked" / "selected.csv")
    assert list(frame.columns[:8]) == [
        *("formula_selected", "front", "beats", "best_in", "stands_for", "nearest_pick"),
        *("nearest_known", "distance_to_known"),
    ]
    assert {"energy_ev_per_atom", "gap_ev"} <= set(frame.columns)
    data = json.loads(done(*arguments, "--json").stdout)
    assert data["terms"] == {"energy_ev_per_atom": "min", "gap_ev": "max"}
    assert [pick["gap_ev"] for pick in data["picks"]] == pytest.approx(frame["gap_ev"].tolist())
    again = ("select", tmp_path / "picked" / "selected.csv", "-n", 2, "--pareto", "energy:min,gap_ev:max")
    assert "2 picks" in done(*again).stdout  # a selection can be selected from


def test_one_per_cluster_is_the_best_of_each(table: Path) -> None:
    found = select(table, 12, by=["log_reward"], within=0.3, one_per="cluster")
    frame = pd.read_csv(table, keep_default_na=False).sort_values("log_reward", ascending=False, kind="stable")
    may = frame[frame["log_reward"] >= frame["log_reward"].head(12).mean() - 0.3]
    number, _ = cluster(formulas(*may["formula"]), 12)
    best = may.assign(number=number).groupby("number")["log_reward"].max().sort_values(ascending=False)
    assert found.table["log_reward"].tolist() == best.tolist()
    assert sorted(found.table["cluster_size"]) == sorted(np.bincount(number).tolist())
    assert found.figures["mean_nearest_distance"] > found.figures["mean_nearest_distance_of_best"]
    assert "cluster size" in done("select", table, "-n", 4, "--one-per", "cluster").stdout


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("energy:min,gapp:max", "expected a column 'gapp'; did you mean 'gap_ev'"),
        ("energy:min,name:max", "expected numbers in the column 'name', found none; choose another --pareto"),
        ("energy:min,gap_ev", "expected TERM:min or TERM:max, parted by commas, got 'gap_ev' with no direction"),
        ("energy:min,gap_ev:up", "got 'gap_ev:up' with 'up'; for example gap_ev:min"),
        ("energy:min", "expected at least two terms"),
        ("energy:min,energy_ev_per_atom:max", "got 'energy_ev_per_atom' twice"),
        ("", "with no direction; for example formation_energy:min"),
    ],
)
def test_terms_that_cannot_be_read(table: Path, terms: str, message: str) -> None:
    refused(message, "select", table, "-n", 3, "--pareto", terms)


def test_bad_input(table: Path, tmp_path: Path) -> None:
    front = ("--pareto", "gap_ev:max,price:min")
    refused("expected --pareto, or --by, got both", "select", table, "-n", 3, *front, "--by", "price")
    refused("or --one-per cluster, got both", "select", table, "-n", 3, *front, "--one-per", "cluster")
    refused(
        "expected one of terms, composition beside --pareto, got 'x'", "select", table, "-n", 3, *front, "--spread", "x"
    )
    refused("beside --pareto, got 'terms'", "select", table, "-n", 3, "--spread", "terms")
    none = tmp_path / "none.csv"
    none.write_text("formula,gap_ev,price\n")
    refused("expected numbers in the column 'gap_ev', found none", "select", none, "-n", 3, *front)
    one = tmp_path / "one.csv"
    one.write_text("formula,gap_ev,price,log_reward\nNaCl,1,2,0\n")
    assert "1 of 3: the table has no further formula" in done("select", one, "-n", 3, *front).stdout
    assert "NaCl" in done("select", one, "-n", 3, "--one-per", "cluster").stdout
    holes = tmp_path / "holes.csv"
    holes.write_text("formula,gap_ev,price\nNaCl,1,2\nKCl,,3\nwhat!,1,1\nNa2Cl2,1,2\nLiF,0.5,1\nMgO,0.1,9\n")
    text = done("select", holes, "-n", 3, *front).stdout
    assert "1 rows without a value of gap_ev and price are left out" in text
    assert "1 rows without a readable formula are left out" in text
    assert "3 picks: 2 of front 1, 1 of front 2" in text
    rows = ["NaCl,1,2,a:b", "KCl,2,1,a:c", "LiF,0,0,d:e"]
    crystals = tmp_path / "crystals.csv"
    crystals.write_text("formula,gap_ev,price,protostructure\n" + "\n".join(rows))
    found = select_front(crystals, 3, "gap_ev:max,price:min", one_per="prototype")
    assert found.table["formula"].tolist() == ["KCl", "LiF"]
