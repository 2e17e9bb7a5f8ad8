"""What commands take of memory: how it is measured, and what the published record claims."""

import sys
from pathlib import Path

import pytest
from benchmarks.agent import bench_peaks
from benchmarks.published import read_metrics

HOLDS = """
import mmap, subprocess, sys
asked_for = mmap.mmap(-1, 1 << 30)  # and never touched: not resident
worker = subprocess.Popen([sys.executable, "-c", "held = bytearray({worker} << 20); import time; time.sleep(1)"])
held = bytearray({own} << 20)
worker.wait()
with open("/proc/self/status") as status, open(PATH, "w") as file:
    file.write(status.read())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize(("own", "worker"), [(300, 100), (50, 400)])
def test_peaks_are_those_of_the_command_and_of_its_worker(
    own: int, worker: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = bytearray(500 << 20)  # of whoever starts the command: no part of its peak
    monkeypatch.setattr(bench_peaks, "_SPEAKS", HOLDS.format(own=own, worker=worker))
    found = bench_peaks.measured(tmp_path, "anything")
    assert own < found["peak_mib"] < own + 50
    assert worker < found["worker_mib"] < worker + 50
    assert held


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_peaks, "_SPEAKS", "raise ValueError('no such run')")
    with pytest.raises(SystemExit, match=r"(?s)oreflow sample absent: .*no such run"):
        bench_peaks.measured(tmp_path, "sample", "absent")


def test_a_million_rows_take_hardly_more_than_ten_thousand() -> None:
    runs = read_metrics("memory")["runs"]
    assert runs["sample -n 1000000"]["peak_mib"] < 1.25 * runs["sample -n 10000 --unique"]["peak_mib"]
    assert max(run["peak_mib"] for run in runs.values()) < 2048
