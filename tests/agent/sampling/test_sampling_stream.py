"""Sampling in a stream: the same rows in chunks of any size, counts, where it stops, and what a full disk leaves."""

import errno
import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from oreflow.agent.errors import OutputError
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling import draws as draws_module
from oreflow.agent.sampling import sample as sample_module
from oreflow.agent.sampling.distinct_counter import DistinctCounter
from oreflow.agent.sampling.draws import first_of_their_kind
from oreflow.agent.sampling.rows import judging
from oreflow.agent.sampling.rows.store import RowStore
from oreflow.agent.sampling.sample import sample
from oreflow.agent.sampling.sampler import PolicySampler, Sampler
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import MANIFEST
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.rewards.reference.tables import read_table
from tests.support.cli import CONFIG, done, oreflow, refused
from tests.support.repository import ROOT

FILES = ["candidates.csv", "candidates.parquet", "summary.json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("streamed")
    (place / "config.yaml").write_text(CONFIG)
    done("train", place / "config.yaml", "--out", place / "run", "-q", "--set", "sampler.steps=3")
    return RunFolder(place / "run")


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if not path.name.startswith((".run.lock", MANIFEST)))


def frame(place: Path) -> pd.DataFrame:
    return pd.read_parquet(place / "candidates.parquet")


@pytest.mark.parametrize("unique", [False, True])
def test_the_rows_do_not_depend_on_the_size_of_chunks(
    folder: RunFolder, tmp_path: Path, unique: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 100 if unique else 700
    whole = sample(folder, n, out=tmp_path / "whole", unique=unique, quiet=True)
    assert sample(folder, n, out=tmp_path / "parts", unique=unique, quiet=True, rows_per_chunk=13) == whole
    assert (tmp_path / "whole" / FILES[0]).read_bytes() == (tmp_path / "parts" / FILES[0]).read_bytes()
    pd.testing.assert_frame_equal(frame(tmp_path / "whole"), frame(tmp_path / "parts"))
    assert pq.ParquetFile(tmp_path / "parts" / FILES[1]).num_row_groups == -(-n // 13)
    monkeypatch.setattr(judging, "_JUDGED_AT_ONCE", 37)  # networks may round differently then
    sample(folder, n, out=tmp_path / "judged", unique=unique, quiet=True)
    a, b = frame(tmp_path / "whole"), frame(tmp_path / "judged")
    if unique:
        a, b = a.sort_values("formula_reduced"), b.sort_values("formula_reduced")
        a, b = (f.drop(columns=["candidate_id", "rank"]).reset_index(drop=True) for f in (a, b))
    pd.testing.assert_frame_equal(a, b, rtol=1e-4, atol=1e-5)
    assert names(tmp_path / "parts") == FILES


def test_counts_of_raw_draws(folder: RunFolder, tmp_path: Path) -> None:
    sample(folder, 2500, out=tmp_path, quiet=True, seed=5)
    rows = frame(tmp_path)
    run, rng = load_run(folder), stream(5, "sampling")
    drawn = np.concatenate([run.sampler.draw(min(1024, n), rng) for n in (2500, 1476, 452)])
    assert rows["formula_reduced"].tolist() == run.kernel.objects(drawn).formulas()
    times = Counter(rows["formula_reduced"])
    assert rows["n_times_sampled"].tolist() == [times[formula] for formula in rows["formula_reduced"]]
    assert (rows["is_unique"] == ~rows["formula_reduced"].duplicated()).all()
    assert len(times) < 1000  # or nothing was counted


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.float32])
def test_the_counter_agrees_with_a_dictionary(dtype: type, rng: np.random.Generator) -> None:
    rows = rng.integers(0, 6, size=(20_000, 3, 3)).astype(dtype)
    rows[:, 1:] = 0
    rows[::7, 2, 2] = rng.integers(0, 90, size=len(rows[::7]))
    counter, place, expected = DistinctCounter(), {}, []
    for part in np.array_split(rows, 23):
        n_before = len(counter)
        numbers = counter.add(part)
        expected = [place.setdefault(row.tobytes(), len(place)) for row in part]
        assert numbers.tolist() == expected
        first = first_of_their_kind(numbers, n_before)
        assert numbers[first].tolist() == list(range(n_before, len(counter)))
    times = Counter(row.tobytes() for row in rows)
    assert counter.times.tolist() == [times[key] for key in place]
    assert len(counter) > 2048  # it grew


def test_the_counter_stops_at_the_row_that_completes_a_number() -> None:
    counter = DistinctCounter()
    rows = np.array([[1], [2], [1], [3], [3], [4]])
    assert counter.add(rows, stop_at=3).tolist() == [0, 1, 0, 2]
    assert counter.times.tolist() == [2, 1, 1]
    assert len(counter.add(rows, stop_at=3)) == 0


def test_distinct_objects_stop_at_the_very_draw_that_completes_them(folder: RunFolder, tmp_path: Path) -> None:
    summary = sample(folder, 90, out=tmp_path, unique=True, quiet=True, seed=2)
    run, rng = load_run(folder), stream(2, "sampling")
    seen: set[bytes] = set()
    n_draws = 0
    for terminal in (run.sampler.draw(max(90 - len(seen), 32), rng) for _ in itertools.count()):
        for row in terminal:
            if len(seen) < 90:
                seen.add(row.tobytes())
                n_draws += 1
        if len(seen) == 90:
            break
    assert (summary["n_draws"], summary["n_rows"], summary["complete"]) == (n_draws, 90, True)
    assert frame(tmp_path)["n_times_sampled"].sum() == n_draws


def test_a_world_of_which_all_was_seen_ends_the_draws(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    small = ("--set", "world.elements=[Li, O]", "--set", "world.n_atoms=[1, 3]", "--set", "world.n_elements=[1, 2]")
    done("train", tmp_path / "config.yaml", "--out", tmp_path / "run", "-q", "--set", "sampler.steps=2", *small)
    result = done("sample", tmp_path / "run", "-n", 1000, "--unique")
    assert "oreflow: 5 of 1000: these are all objects of this world; for more, widen the world" in result.stderr
    assert "max-draws" not in result.stderr
    summary = json.loads((tmp_path / "run" / "samples" / "summary.json").read_text())
    assert (summary["n_rows"], summary["world_exhausted"], summary["complete"]) == (5, True, False)
    assert summary["n_draws"] < 10_000  # of 100 000
    assert set(frame(tmp_path / "run" / "samples")["formula_pretty"]) == {"Li", "O2", "Li2O2", "Li2O", "LiO2"}
    summary = json.loads(done("sample", tmp_path / "run", "-n", 5, "--unique", "--json", "-q").stdout)
    assert summary["complete"]


@pytest.mark.parametrize("broken", ["parquet", "rows", "states"])
def test_a_full_disk_leaves_the_earlier_files(
    folder: RunFolder, tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = ("sample", folder.path, "-n", 300, "--out", out, "-q", "--overwrite")
    done(*arguments, "--seed", 1)
    before = {name: (out / name).read_bytes() for name in FILES}
    target: Any = {"parquet": pq.ParquetWriter, "rows": RowStore, "states": draws_module.ArrayFile}[broken]
    method = {"parquet": "write_table", "rows": "add", "states": "append"}[broken]
    original = getattr(target, method)
    n_calls = itertools.count()

    def fail_midway(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if next(n_calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(target, method, fail_midway)
    monkeypatch.setattr(judging, "_JUDGED_AT_ONCE", 100)
    with pytest.raises(OutputError, match=r"No space left on device; earlier results .* stay as they were"):
        sample(folder, 300, out=out, seed=2, quiet=True, rows_per_chunk=100, overwrite=True)
    assert names(out) == FILES
    assert {name: (out / name).read_bytes() for name in FILES} == before
    if broken != "parquet":  # the command writes so few rows in one chunk
        n_calls = itertools.count()
        refused(f"cannot write to {out}: No space left on device; earlier", *arguments, "--seed", 2, code=5)
        assert {name: (out / name).read_bytes() for name in FILES} == before
    monkeypatch.undo()
    done(*arguments, "--seed", 2)
    assert (out / FILES[0]).read_bytes() != before[FILES[0]]


@pytest.mark.parametrize("passed", ["draw", "judge", "write"])
def test_what_a_killed_process_leaves_is_swept(folder: RunFolder, tmp_path: Path, passed: str) -> None:
    """The process kills itself when a pass reports its end: nothing of it reaches the results."""
    done("sample", folder.path, "-n", 50, "--out", tmp_path, "-q")
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    code = f"""
import os, signal
from pathlib import Path
from oreflow.agent.runtime import progress
from oreflow.agent.sampling import sample
class Kill(progress.Progress):
    def update(self, done, **figures):
        if self.label == {passed!r} and done == self.total:
            os.kill(os.getpid(), signal.SIGKILL)
sample.Progress = Kill
sample.sample(sample.RunFolder({str(folder.path)!r}), 50, out=Path({str(tmp_path)!r}), seed=3, overwrite=True)
"""
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before
    assert ".oreflow-scratch" in names(tmp_path)
    done("sample", folder.path, "-n", 50, "--out", tmp_path, "-q", "--overwrite")
    assert names(tmp_path) == FILES
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_two_processes_do_not_write_to_one_folder(folder: RunFolder, tmp_path: Path) -> None:
    with RunLock(tmp_path):
        refused(f"{tmp_path} is in use by process", "sample", folder.path, "-n", 5, "--out", tmp_path, "-q")
    assert names(tmp_path) == []


class Uniform:
    """A sampler that does not know its probabilities."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.kernel.sample_uniform(n, rng)

    def log_probability(self, terminal: np.ndarray) -> None:
        return None


def test_a_sampler_without_probabilities(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = load_run(folder)
    assert isinstance(run.sampler, PolicySampler)
    run.sampler = Uniform(run.kernel)
    assert isinstance(run.sampler, Sampler)
    monkeypatch.setattr(sample_module, "load_run", lambda folder, **_: run)
    result = oreflow("sample", folder.path, "-n", 50, "--out", tmp_path)
    assert result.exit_code == 0
    assert "std of log R - log P" not in result.stdout
    assert frame(tmp_path)["log_pf"].isna().all()
    assert len(read_table(tmp_path / "candidates.csv")) == 50
    assert json.loads((tmp_path / "summary.json").read_text())["log_reward_minus_log_pf_std"] is None


def test_batches_of_differing_columns_get_common_types(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "rows")
    store.add(pd.DataFrame({"id": ["a", "b"], "n": [1, 2], "m": [1, 2], "note": [None, None], "flag": [True, False]}))
    store.add(pd.DataFrame({"id": ["c"], "n": [0.5], "m": [7], "late": [3], "note": ["text"], "last": [1.5]}))
    assert store.schema.names == ["id", "n", "m", "late", "note", "last", "flag"]
    expected = {"n": pa.float64(), "m": pa.int64(), "late": pa.string(), "last": pa.float64(), "flag": pa.string()}
    assert {name: store.schema.field(name).type for name in expected} == expected
    (table,) = store.chunks(np.array([2, 0, 1]))
    rows = table.to_pandas()
    assert rows["id"].tolist() == ["c", "a", "b"]
    assert rows["n"].tolist() == [0.5, 1.0, 2.0]
    assert rows["late"].tolist() == ["3", None, None]
    assert rows["flag"].tolist() == [None, "True", "False"]
    np.testing.assert_array_equal(rows["last"], [1.5, np.nan, np.nan])
    assert [len(chunk) for chunk in store.chunks(rows_per_chunk=2)] == [2, 1]


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "rows")
    store.add(pd.DataFrame({"id": ["a"], "n": pd.array([1], dtype="Int64")})[:0])
    (table,) = store.chunks()
    assert (table.column_names, len(table)) == (["id", "n"], 0)
    assert table.to_pandas()["n"].dtype == "Int64"
    shutil.rmtree(tmp_path)
