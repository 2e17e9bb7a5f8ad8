"""Largest resident memory of the commands that people run, each in a process of its own.

    python -m benchmarks.agent.bench_peaks [--json runs/published/memory/metrics.json]

Protocol. `train`: the quickstart and open_crystals as they ship. `sample -n 1000000`: raw draws of the quickstart's
run. `sample --unique`: 10 000 distinct ones. `report`: of a table of 100 000 rows, the first of the million. `relax`:
24 crystals of two atoms by CHGNet, both tracks, two worker processes. "Peak" is the largest resident set of the
command's own process by Linux's account (`VmHWM`, which, unlike `ru_maxrss`, starts anew with the program), "worker"
that of the largest of its worker processes, looked at every 50 ms. Pages of files that are mapped count until the
system takes them back. Functions are compiled before (`oreflow warm-up`).
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.records import write_timings

ROOT = Path(__file__).parents[2]
CRYSTALS = [(symbol, anion) for symbol in ("Li", "Na", "K", "Mg", "Ca", "Sr") for anion in ("F", "Cl", "O", "S")]
_EVERY_S = 0.05
_SPEAKS = """
from oreflow.agent.cli import app
try:
    app()
finally:
    with open("/proc/self/status") as status, open(PATH, "w") as file:
        file.write(status.read())
"""


def peak_mib(status: str) -> float:
    """The largest resident set that a text of `/proc/N/status` tells; 0 of a process that has ended."""
    lines = [line.split() for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0][1]) / 1024 if lines else 0.0


def workers_of(process: int) -> list[int]:
    """Descendants of a process; those that still run the program of their parent, as before an `exec`, are left out."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/cmdline").read_bytes() != Path(f"/proc/{process}/cmdline").read_bytes():
                    found.append(child)
                found += workers_of(child)
    return found


def measured(scratch: Path, *words: object) -> dict[str, Any]:
    """Run a command of oreflow; return its seconds and the MiB that it and its largest worker took."""
    figures, errors = scratch / "peak.txt", scratch / "errors.txt"
    code = f"PATH = {str(figures)!r}\n" + _SPEAKS
    command = [sys.executable, "-c", code, *map(str, words), "--quiet"]
    started, largest = time.monotonic(), 0.0
    with errors.open("w") as file, subprocess.Popen(command, cwd=scratch, stdout=file, stderr=file) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError):  # a process may end while it is looked at
                for worker in workers_of(process.pid):
                    largest = max(largest, peak_mib(Path(f"/proc/{worker}/status").read_text()))
            time.sleep(_EVERY_S)
    if process.returncode:
        raise SystemExit(f"oreflow {' '.join(map(str, words))}: {errors.read_text()}")
    return {"seconds": time.monotonic() - started, "peak_mib": peak_mib(figures.read_text()), "worker_mib": largest}


def write_crystals(folder: Path) -> Path:
    """Write rock-salt crystals, slightly too large, as CIFs."""
    from pymatgen.core import Lattice, Structure

    folder.mkdir()
    for symbol, anion in CRYSTALS:
        cell = Structure.from_spacegroup(225, Lattice.cubic(5.6), [symbol, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
        cell.get_primitive_structure().to(str(folder / f"{symbol}{anion}.cif"))
    return folder


def main() -> None:
    """Run all, print a table, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1_000_000, help="raw draws")
    parser.add_argument("--json", type=Path, help="where the record goes")
    options = parser.parse_args()
    started = time.perf_counter()
    configs = ROOT / "runs" / "configs"
    with tempfile.TemporaryDirectory(prefix="oreflow-bench-") as path:
        scratch = Path(path)
        measured(scratch, "warm-up", "quickstart", "open_crystals")
        runs = {}
        for name in ("quickstart", "open_crystals"):
            words = ("train", configs / f"{name}.yaml", "--out", name)
            runs[f"train {name}.yaml"] = measured(scratch, *words)
        runs[f"sample -n {options.n}"] = measured(scratch, "sample", "quickstart", "-n", options.n, "--out", "raw")
        runs["sample -n 10000 --unique"] = measured(
            scratch, "sample", "quickstart", "-n", 10_000, "--unique", "--out", "distinct"
        )
        pd.read_parquet(scratch / "raw" / "candidates.parquet").head(100_000).to_csv(scratch / "rows.csv", index=False)
        runs["report, 100 000 rows"] = measured(scratch, "report", "rows.csv")
        write_crystals(scratch / "cifs")
        runs["relax, 24 crystals, CHGNet"] = measured(scratch, "relax", "cifs", "--out", "relaxed", "--workers", 2)
    for name, figures in runs.items():
        print(
            f"{name:32s} peak {figures['peak_mib']:6.0f} MiB, worker {figures['worker_mib']:6.0f} MiB, "
            f"{figures['seconds']:5.0f} s"
        )
    if options.json:
        arguments = ["-n", options.n] if options.n != parser.get_default("n") else []
        write_timings(options.json, "agent.bench_peaks", arguments, runs, os.cpu_count() or 1, started)


if __name__ == "__main__":
    main()
