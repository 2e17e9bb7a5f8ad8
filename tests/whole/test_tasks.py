"""Tasks of the literature: records complete, pages as the records have it, and a protocol that runs on a small list."""

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.tasks import valence_repair
from benchmarks.tasks.page import (
    NO_RECORD,
    TASKS,
    filled,
    module,
    names,
    overview,
    pages,
    read_description,
    read_metrics,
    recorded,
)

from oreflow.agent.config.run import load_config
from oreflow.agent.repair.repair import Settings
from oreflow.rewards.reference.known_phases import read_reference


@pytest.mark.parametrize("name", names())
def test_a_task_has_all_that_a_reader_needs(name: str) -> None:
    files = {path.name for path in (TASKS / name).iterdir()}
    assert {"README.md", "command.txt"} <= files
    if name in recorded():
        assert {"config.resolved.yaml", "protocol.yaml"} & files
    else:
        assert {"config.yaml", "task.yaml"} <= files
    found = importlib.import_module(module(name))
    assert found.__doc__
    assert callable(found.table)
    assert module(name) == f"benchmarks.tasks.{'rediscovery' if 'task.yaml' in files else name}"
    assert (TASKS / name / "command.txt").read_text().split()[:2] == ["python", "-m"]


def test_every_folder_is_a_task() -> None:
    assert [path.name for path in sorted(TASKS.iterdir()) if path.is_dir()] == names()
    assert recorded()


@pytest.mark.parametrize("name", sorted(set(names()) - set(recorded())))
def test_a_task_without_a_record_says_what_it_asks_and_of_whom(name: str) -> None:
    task = read_description(name)
    assert {"title", "after", "measures", "minutes"} == set(task)
    lines = [line for line in overview() if f"({name}/README.md)" in line]
    assert len(lines) == 1
    measure, command = task["measures"][0], (TASKS / name / "command.txt").read_text(encoding="utf-8").strip()
    for shown in (
        task["after"],
        measure["name"],
        measure["paper"],
        NO_RECORD,
        f"{task['minutes']} (expected)",
        command,
    ):
        assert shown
        assert f"| {shown} |" in lines[0].replace("`", "")


@pytest.mark.parametrize("name", recorded())
def test_metrics_say_what_and_with_what(name: str) -> None:
    metrics = read_metrics(name)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", metrics["date"])
    assert metrics["seconds"] > 0
    assert set(metrics["machine"]["versions"]) >= {"oreflow", "torch", "numpy"}
    assert {"title", "after", "measures"} == set(metrics["task"])
    for measure in metrics["task"]["measures"]:
        assert {"name", "paper", "ours"} == set(measure)
        assert measure["ours"]


@pytest.mark.parametrize("name", names())
def test_commands_read_no_path_of_ours_and_write_where_they_lie(name: str) -> None:
    words = shlex.split((TASKS / name / "command.txt").read_text(encoding="utf-8"))
    paths = [Path(word) for word in words if "/" in word]
    assert paths == [Path("runs/tasks") / name]


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.parent.name)
def test_pages_show_each_record_as_it_is(path: Path) -> None:
    assert filled(path) == path.read_text(encoding="utf-8"), "run python -m benchmarks.tasks.page"


def test_a_changed_figure_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = overview()
    metrics = read_metrics("valence_repair")
    metrics["task"]["measures"][0]["ours"] = "0"
    monkeypatch.setattr("benchmarks.tasks.page.read_metrics", lambda name: metrics)
    assert overview() != before


@pytest.mark.parametrize("path", sorted(TASKS.glob("*/config.yaml")), ids=lambda path: path.parent.name)
def test_configs_pass_the_schema(path: Path) -> None:
    load_config(path)


def test_valence_repair_keeps_what_its_page_claims() -> None:
    runs = read_metrics("valence_repair")["runs"]
    own = {name: run["repairable"]["mean"] for name, run in runs.items()}
    exact, walk, drawn = own["nearest_fractions"], own["metropolis_hastings"], own["no_repair"]
    assert exact["mean_net_valence_e_per_atom"] == 0 < drawn["mean_net_valence_e_per_atom"]
    assert runs["fewest_changes_with_anions"]["all"]["mean"]["mean_net_valence_e_per_atom"] == 0
    assert exact["share_neutral"] == own["fewest_changes"]["share_neutral"] == 1 > walk["share_neutral"]
    assert exact["mean_distance_to_known"] <= drawn["mean_distance_to_known"]
    assert exact["known_mae_ev_per_atom"] <= drawn["known_mae_ev_per_atom"] + 0.015
    assert exact["predicted_mae_ev_per_atom"] <= drawn["predicted_mae_ev_per_atom"] + 0.015
    assert exact["mean_moved"] < own["fewest_changes"]["mean_moved"] < walk["mean_moved"]
    assert walk["mean_moved"] > 4 * exact["mean_moved"]
    assert walk["known_mae_ev_per_atom"] > drawn["known_mae_ev_per_atom"] + 0.1
    assert 0.8 < drawn["share_of_draws"] < 0.87
    assert exact["formulas_per_second"] > 60 * walk["formulas_per_second"]


def test_the_figures_of_valence_repair_by_hand(tmp_path: Path) -> None:
    """A made-up list of known compounds, and draws whose repair can be done in the head."""
    (tmp_path / "known.csv").write_text(
        "formula,formation_energy_per_atom\nNaCl,-2.0\nClNa,-2.1\nMgO,-3.0\nFe,0\nNaCl2,-1\n"
    )
    known = read_reference(tmp_path / "known.csv")
    drawn = ["NaCl2", "Mg3O", "Fe3Mg"]
    targets = np.array([-1.1, -3.0, 0.0])
    before = valence_repair.judged(drawn, targets, None, known)
    assert before["net_valence"] == pytest.approx([1 / 3, 1.0, 2.0])
    after = valence_repair.judged(drawn, targets, Settings(nearest="fractions"), known)
    assert after["formulas"] == ["NaCl", "MgO", "Fe3Mg"]
    assert after["net_valence"] == pytest.approx([0, 0, 2.0])
    assert after["distance"] == pytest.approx([0, 0, np.sqrt(0.125)])
    assert after["known_error"] == pytest.approx([-1.0, 0.0, 0.0])
    rows = np.array([True, True, False])
    shown = valence_repair.figures(after, rows)
    assert shown["mean_net_valence_e_per_atom"] == 0
    assert shown["known_mae_ev_per_atom"] == pytest.approx(0.5)
    assert shown["known_rmse_ev_per_atom"] == pytest.approx(np.sqrt(0.5))
    assert shown["mean_moved"] == pytest.approx((np.sqrt(2) / 6 + np.sqrt(2) / 4) / 2)
    assert shown["share_of_draws"] == pytest.approx(2 / 3)
    seeds: dict[str, Any] = valence_repair.over_seeds({"0": {"a": 1.0}, "1": {"a": 2.0}})
    assert json.loads(json.dumps(seeds))["mean"]["a"] == 1.5
    assert seeds["spread"]["a"] == 1.0
