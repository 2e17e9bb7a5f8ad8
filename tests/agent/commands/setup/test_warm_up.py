"""`oreflow warm-up`: what it compiles is in the cache, and what it cannot keep there is said."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import typer

from oreflow.agent.commands.setup import warm_up
from oreflow.agent.errors import OutputError

CONFIG = """schema_version: 1
world: {elements: [Li, O], n_elements: [1, 2], n_atoms: [1, 4]}
reward: {terms: [{name: charge_balance, shape: {kind: minimise, beta: 0.5}}]}
sampler: {hidden: [8], batch: 8}
"""


def oreflow(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a cache of its own."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "oreflow.agent.cli", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_second_warm_up_and_commands_find_all_in_the_cache(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    first = oreflow(tmp_path, "warm-up", "config.yaml", "--json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert found["compilations"] > 50
    assert found["processes"] == 1  # one config, one process
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "config.yaml"]  # runs leave nothing behind
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")}
    assert oreflow(tmp_path, "train", "config.yaml", "--out", "run", "--set", "sampler.steps=3").returncode == 0
    assert oreflow(tmp_path, "sample", "run", "-n", "3").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nb?")} == files
    assert oreflow(tmp_path, "warm-up", "config.yaml").stdout == "all of it was compiled before\n"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("quickstrat", "did you mean 'quickstart'"), ("absent.yaml", "absent.yaml")],
)
def test_unknown_configs_stop_before_any_work(
    name: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warm_up, "ProcessPoolExecutor", None)
    with pytest.raises(typer.Exit) as ended:
        warm_up.warm_up(configs=["tiny_exact", name])
    assert ended.value.exit_code == 2
    assert sentence in capsys.readouterr().err


def test_what_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "compiled functions cannot be written to the cache /full (OSError: no space): set NUMBA_CACHE_DIR"

    def full(*_: object) -> None:
        warnings.warn(sentence, RuntimeWarning, stacklevel=1)
        warnings.warn("something else", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(warm_up, "_train_and_sample", full)
    assert warm_up.use(("tiny_exact",)) == (0, [sentence])


def test_a_cache_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class InThisProcess:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> "InThisProcess":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def map(self, _: object, groups: list[tuple[str, ...]]) -> list[warm_up.Compiled]:
            return [warm_up.Compiled(3, ["compiled functions cannot be cached"] if len(groups) == 1 else [])]

    monkeypatch.setattr(warm_up, "ProcessPoolExecutor", InThisProcess)
    with pytest.raises(typer.Exit) as ended:
        warm_up.warm_up(configs=["tiny_exact"])
    assert (ended.value.exit_code, issubclass(OutputError, OSError)) == (5, True)
    assert "compiled functions cannot be cached" in capsys.readouterr().err
