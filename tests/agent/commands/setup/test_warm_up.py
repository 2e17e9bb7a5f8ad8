"""`oreflow warm-up`: what it compiles is in the cache, and what it cannot keep there is said."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numba
import pytest
import typer

from oreflow.agent.commands.setup import warm_up
from oreflow.agent.config.run import Config
from oreflow.agent.errors import OutputError
from oreflow.envs.registry import WORLDS

CONFIG = """schema_version: 1
world: {elements: [Li, O], n_elements: [1, 2], n_atoms: [1, 4]}
reward: {terms: [{name: own_for_warm_up, shape: {kind: minimise, beta: 0.5}}]}
sampler: {hidden: [8], batch: 8}
"""
PLUGIN = """
import numpy as np
from oreflow import rewards

@rewards.register("own_for_warm_up")
class Own:
    name, unit, version, citations, requires = "own_for_warm_up", "1", "1", (), "composition"
    def __call__(self, batch):
        return rewards.TermValues(batch.n_elements.astype(float), np.ones(len(batch), dtype=bool))
"""


class Pool:
    """In place of processes: works here, and notes how many were asked for."""

    sizes: ClassVar[list[int]] = []

    def __init__(self, n: int, _: object) -> None:
        self.sizes.append(n)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, work: Callable[[Any], Any], groups: Iterable[Any]) -> list[Any]:
        return [work(group) for group in groups]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many processes each warm-up asked for; the work is done here."""
    monkeypatch.setattr(warm_up, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(Pool, "sizes", [])
    return Pool.sizes


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> list[Config]:
    """The configs that would be trained and drawn from."""
    configs: list[Config] = []
    monkeypatch.setattr(warm_up, "_train_and_sample", lambda config, _: configs.append(config))
    return configs


def ended(**options: Any) -> int:
    """Run the verb in this process; return its exit code."""
    with pytest.raises(typer.Exit) as done:
        warm_up.warm_up(**options)
    return done.value.exit_code


def oreflow(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a cache of its own."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "oreflow.agent.cli", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_second_warm_up_and_commands_find_all_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "own.py").write_text(PLUGIN)
    first = oreflow(tmp_path, "warm-up", "config.yaml", "--plugin", "own.py", "--json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert found["compilations"] > 50
    assert found["processes"] == 1  # one config, one process
    names = sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__")
    assert names == ["cache", "config.yaml", "own.py"]  # runs leave nothing behind
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")}
    own = ("--plugin", "own.py")
    train = oreflow(tmp_path, "train", "config.yaml", "--out", "run", "--set", "sampler.steps=3", *own)
    assert train.returncode == 0, train.stderr
    assert oreflow(tmp_path, "sample", "run", "-n", "3", "--unique", *own).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")} == files
    assert oreflow(tmp_path, "warm-up", "config.yaml", *own).stdout == "all of it was compiled before\n"


def test_without_configs_all_worlds_and_both_families_are_used_for_two_steps(trained: list[Config]) -> None:
    assert ended() == 0
    assert {config.world.kind for config in trained} == {kind for kind in WORLDS.names() if WORLDS.is_built_in(kind)}
    assert {config.target.prior is None for config in trained} == {True, False}
    samplers = [config.sampler for config in trained]
    assert {sampler.kind for sampler in samplers} >= {"gflownet", "policy_gradient"}
    # These have compiled functions of their own, which no other objective uses.
    assert {sampler.objective for sampler in samplers} >= {"gae", "sub_trajectory_balance"}
    assert {sampler.steps for sampler in samplers} == {2}


@pytest.mark.parametrize("name", ["own.yaml", "own.yml"])
def test_files_are_used_for_two_steps_whatever_they_say(name: str, tmp_path: Path, trained: list[Config]) -> None:
    text = CONFIG.replace("own_for_warm_up", "charge_balance").replace("batch: 8", "batch: 8, steps: 500")
    (tmp_path / name).write_text(text)
    assert ended(configs=[str(tmp_path / name), "tiny_alloys"]) == 0
    assert [config.world.kind for config in trained] == ["composition", "alloy"]
    assert [config.sampler.steps for config in trained] == [2, 2]


@pytest.mark.parametrize(
    ("configs", "processes", "cores", "expected"),
    [
        (None, None, 8, 2),
        (None, None, 1, 1),
        (None, 1, 8, 1),
        (["tiny_exact"], 4, 8, 1),
        (["tiny_exact", "tiny_alloys", "quickstart"], None, 8, 2),
        (["tiny_exact", "tiny_alloys", "quickstart"], 3, 1, 3),
    ],
)
def test_as_many_processes_as_asked_for_or_there_is_work(
    configs: list[str] | None,
    processes: int | None,
    cores: int,
    expected: int,
    sizes: list[int],
    trained: list[Config],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert ended(configs=configs, processes=processes) == 0
    assert sizes == [expected]


@pytest.mark.parametrize(
    ("n", "options", "said"),
    [
        (0, {}, "all of it was compiled before\n"),
        (3, {"processes": 1}, "6 compilations in 0 s\n"),
        (3, {"processes": 2}, "6 compilations in 0 s, 2 processes side by side\n"),
        (3, {"quiet": True}, ""),
    ],
)
def test_it_says_how_much_was_compiled(
    n: int,
    options: dict[str, Any],
    said: str,
    sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(warm_up, "use", lambda configs, plugins: warm_up.Compiled(n, []))
    assert ended(configs=["tiny_exact", "tiny_alloys"], **options) == 0
    assert capsys.readouterr().out == said


def test_each_compilation_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    @numba.njit
    def inner(x: int) -> int:
        return x + 1

    @numba.njit
    def outer(x: int) -> int:
        return inner(x) + inner(x)

    monkeypatch.setattr(warm_up, "_train_and_sample", lambda config, _: outer(1))
    assert warm_up.use([["tiny_exact"], ["tiny_exact"]]) == (2, [])
    assert warm_up.use([["tiny_exact"]]) == (0, [])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("quickstrat", "did you mean 'quickstart'"), ("absent.yaml", "absent.yaml")],
)
def test_unknown_configs_stop_before_any_work(
    name: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warm_up, "ProcessPoolExecutor", None)
    assert ended(configs=["tiny_exact", name]) == 2
    assert sentence in capsys.readouterr().err


def test_a_plug_in_that_cannot_be_read_stops_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warm_up, "ProcessPoolExecutor", None)
    assert ended(configs=["tiny_exact"], plugin=[tmp_path / "absent.py"]) == 2
    assert "absent.py" in capsys.readouterr().err


def test_what_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "compiled functions cannot be written to the cache /full (OSError: no space): set NUMBA_CACHE_DIR"

    def full(*_: object) -> None:
        warnings.warn(sentence, RuntimeWarning, stacklevel=1)
        warnings.warn("something else", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(warm_up, "_train_and_sample", full)
    assert warm_up.use([["tiny_exact"]]) == (0, [sentence])


def test_a_cache_that_cannot_be_written_is_an_error(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def use(configs: Sequence[Sequence[str]], plugins: object) -> warm_up.Compiled:
        return warm_up.Compiled(3, ["compiled functions cannot be cached"] if configs[0][0] == "tiny_alloys" else [])

    monkeypatch.setattr(warm_up, "use", use)
    assert ended(configs=["tiny_exact", "tiny_alloys"]) == 5
    assert issubclass(OutputError, OSError)
    assert "compiled functions cannot be cached" in capsys.readouterr().err
    assert ended(configs=["tiny_exact"]) == 0
