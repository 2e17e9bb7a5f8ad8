"""Published records: complete, still valid, and the README says what they say."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.published import PUBLISHED, TABLES, block, filled, read_metrics
from benchmarks.records import ROOT

from oreflow.agent.config.run import load_config, validate_config

RECORDS = sorted(path.name for path in PUBLISHED.iterdir() if path.is_dir())
README = (PUBLISHED / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_has_its_three_files(name: str) -> None:
    names = {path.name for path in (PUBLISHED / name).iterdir()}
    assert {"metrics.json", "command.txt"} <= names
    assert len({"config.resolved.yaml", "protocol.yaml"} & names) == 1


@pytest.mark.parametrize("name", RECORDS)
def test_metrics_say_with_what_they_were_made(name: str) -> None:
    metrics = read_metrics(name)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", metrics["date"])
    assert metrics["seconds"] > 0
    machine = metrics["machine"]
    assert set(machine["versions"]) >= {"oreflow", "torch", "numpy"}
    assert 1 <= machine["threads"] <= machine["cores"]


def holds(found: Any, stored: Any) -> bool:
    """Whether all that was stored is still there; keys that the schema gained since take their defaults."""
    if isinstance(stored, dict):
        return isinstance(found, dict) and all(key in found and holds(found[key], stored[key]) for key in stored)
    if isinstance(stored, list):
        return isinstance(found, list) and len(found) == len(stored) and all(map(holds, found, stored))
    return bool(found == stored)


@pytest.mark.parametrize("name", RECORDS)
def test_configs_pass_the_schema_of_today_and_mean_the_same(name: str) -> None:
    resolved = PUBLISHED / name / "config.resolved.yaml"
    if not resolved.exists():
        return
    stored = yaml.safe_load(resolved.read_text(encoding="utf-8"))
    assert holds(load_config(resolved).model_dump(mode="json"), stored)
    for run in read_metrics(name).get("runs", {}).values():
        load_config(resolved, run.get("changes", []))


def test_the_config_of_the_proof_is_the_one_that_ships() -> None:
    metrics = read_metrics("exact_energy")
    shipped = load_config(ROOT / metrics["config"], ["run.threads=1"], metrics["seed"])
    assert load_config(PUBLISHED / "exact_energy" / "config.resolved.yaml") == shipped


def test_the_hypergrid_s_samplers_pass_the_schema_of_today_and_mean_the_same() -> None:
    protocol = yaml.safe_load((PUBLISHED / "hypergrid" / "protocol.yaml").read_text(encoding="utf-8"))
    assert set(protocol["sampler"]) == set(read_metrics("hypergrid")["runs"])
    for sampler in protocol["sampler"].values():
        term = {"name": "charge_balance", "shape": {"kind": "minimise", "beta": 1.0}}
        data = {"schema_version": 1, "world": {}, "reward": {"terms": [term]}, "sampler": sampler}
        assert holds(validate_config(data, "hypergrid").sampler.model_dump(mode="json"), sampler)


@pytest.mark.parametrize("name", RECORDS)
def test_commands_name_what_is_there_and_write_where_they_lie(name: str) -> None:
    words = shlex.split((PUBLISHED / name / "command.txt").read_text(encoding="utf-8"))
    if words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None
    else:
        assert words[0] == "oreflow"
    paths = [Path(word) for word in words[1:] if "/" in word]
    assert all(not path.is_absolute() and (ROOT / path).exists() for path in paths)


def test_the_readme_shows_each_record_as_it_is() -> None:
    """Every figure of a table is the record's after rounding: the tables are made again, and must be equal."""
    assert re.findall(r"<!-- (?!end)(\w+) -->", README) == list(TABLES)
    assert filled(README) == README
    assert set(TABLES) <= set(RECORDS)


def test_a_changed_figure_would_be_noticed() -> None:
    figure = f"{read_metrics('exact_energy')['runs']['trajectory_balance']['total_variation']:.4f}"
    assert figure in block("exact_energy")
    changed = README.replace(figure, "0.0001")
    assert filled(changed) != changed


def test_files_and_pictures_of_the_readme_are_there_and_small() -> None:
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert linked
    assert all((PUBLISHED / target).exists() for target in linked)
    assert all(path.stat().st_size < 150_000 for path in PUBLISHED.rglob("*") if path.is_file())


def test_the_proof_of_crystals_keeps_what_its_readme_claims() -> None:
    metrics = read_metrics("crystals")
    shipped = load_config(ROOT / metrics["config"], ["run.threads=1"], metrics["seed"])
    assert load_config(PUBLISHED / "crystals" / "config.resolved.yaml") == shipped
    world = metrics["world"]
    by_labelings = world["n_crystals_by_labelings"].items()
    assert sum(count for _, count in by_labelings) == world["n_crystals"]
    assert sum(int(n) * count for n, count in by_labelings) == world["n_labelings"] > world["n_crystals"]
    assert world["total_variation_of_counted_target"] > 0.1, "a mistake that would show"
    for run in metrics["runs"].values():
        assert run["total_variation"] <= 0.03
        assert run["total_variation_from_counted_target"] > 0.1


def test_the_proof_keeps_what_its_readme_claims() -> None:
    metrics = read_metrics("exact_energy")
    world, runs = metrics["world"], metrics["runs"]
    assert world["build_orders_are_k_factorial"]
    for name in ("trajectory_balance", "policy_gradient"):
        assert runs[name]["total_variation"] <= 0.03
        assert abs(runs[name]["log_z_error"]) <= 0.03
    uncorrected = runs["uncorrected"]
    training_error = uncorrected["total_variation_from_counted_target"]
    assert training_error <= 0.03
    assert abs(uncorrected["total_variation"] - world["total_variation_of_counted_target"]) <= training_error
