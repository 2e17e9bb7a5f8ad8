"""`train --seeds` and `compare`: one config over seeds, gone on with after a stop, and what the seeds say together."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.agent.commands.training.seeds import parse_seeds
from oreflow.agent.errors import ConfigError
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training import loop
from tests.agent.training.test_resume import contents
from tests.support.cli import CONFIG, done, oreflow, refused


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def seeds(config: Path) -> Path:
    out = config.parent / "seeds"
    shown = done("train", config, "--seeds", "0-2", "--out", out, "--set", "run.measure_every=20").stdout
    assert f"next: oreflow compare {out}" in shown
    return out


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"), [("3", [3]), ("0-2", [0, 1, 2]), ("7, 0-1,1-2", [0, 1, 2, 7]), ("4-4", [4])]
)
def test_seeds_are_read(text: str, expected: list[int]) -> None:
    assert parse_seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-", "-2", "1,,2", "0-100000000", "1.5"])
def test_what_is_no_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected numbers and ascending ranges"):
        parse_seeds(text)


def test_each_seed_is_the_run_that_it_would_be_by_itself(seeds: Path, config: Path, tmp_path: Path) -> None:
    done("train", config, "--seed", 1, "--out", tmp_path / "one", "--set", "run.measure_every=20", "-q")
    assert contents(RunFolder(tmp_path / "one")) == contents(RunFolder(seeds / "seed_1"))
    assert [path.name for path in sorted(seeds.glob("seed_*"))] == ["seed_0", "seed_1", "seed_2"]


def test_finished_runs_stay_and_stopped_ones_go_on(
    seeds: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, honest, calls = tmp_path / "seeds", loop._Figures.add, []

    def signalled(*arguments: Any) -> None:
        calls.append(1)
        honest(*arguments)
        if len(calls) == 55:  # in the second run, after 15 of its 40 steps
            os.kill(os.getpid(), signal.SIGTERM)

    again = ("train", config, "--seeds", "0-2", "--out", out, "--set", "run.measure_every=20")
    with monkeypatch.context() as patch:
        patch.setattr(loop._Figures, "add", signalled)
        result = oreflow(*again)
    assert result.exit_code == 3
    assert "go on with: the same command" in " ".join(result.output.split())
    assert not (out / "seed_2").exists()
    before = {path: path.read_bytes() for path in (out / "seed_0").rglob("*") if path.is_file()}
    (out / "seed_2").mkdir()  # begun, and killed before its first checkpoint
    (out / "seed_2" / "config.resolved.yaml").write_bytes((out / "seed_0" / "config.resolved.yaml").read_bytes())
    runs = json.loads(done(*again, "--json", "-q").stdout)["runs"]
    assert [run["finished_before"] for run in runs] == [True, False, False]
    assert [run["seed"] for run in runs] == [0, 1, 2]
    assert {path: path.read_bytes() for path in (out / "seed_0").rglob("*") if path.is_file()} == before
    for seed in (0, 1, 2):
        assert contents(RunFolder(out / f"seed_{seed}")) == contents(RunFolder(seeds / f"seed_{seed}"))
    assert len(json.loads((out / "seed_1" / "provenance.json").read_text())["resumed"]) == 1


def test_nothing_is_trained_where_something_does_not_fit(seeds: Path, config: Path, tmp_path: Path) -> None:
    before = sorted(path.stat().st_mtime_ns for path in seeds.rglob("*"))
    arguments = ("train", config, "--out", seeds, "--set", "run.measure_every=20")
    refused("learning_rate was 0.001, is 0.1", *arguments, "--seeds", "0-5", "--set", "sampler.learning_rate=0.1")
    refused("expected one of them", *arguments, "--seeds", "0", "--seed", 1)
    refused("holds a run itself", "train", config, "--seeds", "0", "--out", seeds / "seed_0")
    assert sorted(path.stat().st_mtime_ns for path in seeds.rglob("*")) == before


def test_the_table_is_that_of_the_last_lines(seeds: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    (group,) = json.loads(done("compare", seeds, "--json", "--out", out).stdout)["groups"]
    assert (group["seeds"], group["group"]) == ([0, 1, 2], "seeds")
    for name in ("loss", "exact_total_variation", "top_log_reward"):
        last = np.array([rows(seeds / f"seed_{seed}")[-1][name] for seed in range(3)])
        expected = {"mean": last.mean(), "std": last.std(ddof=1), "min": last.min(), "max": last.max()}
        assert group["measures"][name] == pytest.approx({"step": 40, "n_seeds": 3, **expected})
    assert "n_objects" not in group["measures"]
    assert json.loads((out / "compare.json").read_text())["groups"] == [group]
    assert (out / "compare.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    picture = (out / "compare.svg").read_text()
    for text in ("gradient steps", "exact total variation / share of draws", "learned log Z / nats", "3 seeds"):
        assert text in picture
    assert picture.count('id="axes_') == len(group["measures"])
    refused("is there already", "compare", seeds, "--out", out)
    done("compare", seeds, "--out", out, "--overwrite", "--measure", "loss", "-q")
    assert "learned log Z" not in (out / "compare.svg").read_text()


def test_runs_are_grouped_by_all_but_the_seed(seeds: Path, config: Path, tmp_path: Path) -> None:
    short = ("--set", "sampler.steps=20", "--set", "sampler.learning_rate=0.01", "-q")
    done("train", config, "--seeds", "0,1", "--out", tmp_path / "fast", *short)
    folders = (tmp_path / "fast" / "seed_1", seeds, tmp_path / "fast" / "seed_0")
    figures = json.loads(done("compare", *folders, "--json").stdout)["groups"]
    assert [group["seeds"] for group in figures] == [[0, 1], [0, 1, 2]]
    assert [group["group"] for group in figures] == ["learning_rate 0.01, steps 20", "learning_rate 0.001, steps 40"]
    assert "exact_total_variation" not in figures[0]["measures"]
    assert [group["measures"]["loss"]["step"] for group in figures] == [20, 40]
    lines = done("compare", *folders, "--measure", "loss").stdout.splitlines()
    last = rows(seeds / "seed_0")[-1]["loss"], rows(seeds / "seed_1")[-1]["loss"], rows(seeds / "seed_2")[-1]["loss"]
    assert lines[-1].split() == [
        *("learning_rate", "0.001,", "steps", "40", "3", "40"),
        *(f"{value:.5g}" for value in (np.mean(last), np.std(last, ddof=1), min(last), max(last))),
    ]


def test_a_run_that_was_stopped_is_compared_at_the_steps_that_all_have(seeds: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        run = tmp_path / f"seed_{seed}"
        run.mkdir()
        for name in ("config.resolved.yaml", "metrics.jsonl"):
            (run / name).write_bytes((seeds / run.name / name).read_bytes())
    log = tmp_path / "seed_1" / "metrics.jsonl"
    log.write_text("\n".join(log.read_text().splitlines()[:2]) + "\n")
    (group,) = json.loads(done("compare", tmp_path, "--json", "--measure", "log_z").stdout)["groups"]
    at_20 = [rows(seeds / f"seed_{seed}")[1]["log_z"] for seed in (0, 1)]
    assert group["measures"]["log_z"]["step"] == 20
    assert group["measures"]["log_z"]["mean"] == pytest.approx(np.mean(at_20))


def test_what_cannot_be_compared_is_refused(seeds: Path, tmp_path: Path) -> None:
    refused("found no config.resolved.yaml", "compare", tmp_path)
    refused("did you mean 'log_z'", "compare", seeds, "--measure", "logz")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.resolved.yaml").write_bytes((seeds / "seed_0" / "config.resolved.yaml").read_bytes())
    refused("same config and seed 0", "compare", seeds, other)
    text = (other / "config.resolved.yaml").read_text().replace("seed: 0", "seed: 9")
    (other / "config.resolved.yaml").write_text(text)
    refused("cannot be read", "compare", seeds, other)
    (other / "metrics.jsonl").write_text("")
    refused("has no line yet", "compare", seeds, other)
    (other / "metrics.jsonl").write_text('{"step": 40, "acceptance": 0.5}\n')
    refused("no measure in common", "compare", seeds, other)
    (other / "metrics.jsonl").write_text('{"step": 41, "loss": 0.5}\n')
    refused("no step in common", "compare", seeds, other)
