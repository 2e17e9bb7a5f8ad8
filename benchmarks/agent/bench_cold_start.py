"""What the first use costs: CPU seconds of commands on a machine that has compiled nothing yet, and of the same again.

    python -m benchmarks.agent.bench_cold_start [--functions 20] [--only decorations] [--json FILE]

Each command runs in a process of its own, with a cache of compiled functions (`NUMBA_CACHE_DIR`) that is empty the
first time and filled the second. Printed are CPU and wall seconds of the whole command, CPU seconds until its first
step begins and ends, and what numba compiled: for each function how many versions, and the CPU seconds of its own,
those of compilations begun meanwhile taken off. A function that Python calls is optimised with all that it calls; those
seconds count for it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.records import write_timings

_STEPS = ["--set", "sampler.steps=2", "--set", "run.log_every_steps=1"]
COMMANDS = {
    "compositions": ["runs/configs/quickstart.yaml", *_STEPS],
    "decorations": ["runs/configs/open_crystals.yaml", *_STEPS],
    "decorations, gflownet": ["runs/configs/perovskites.yaml", *_STEPS],
    "crystals with geometry": ["runs/configs/tiny_crystals.yaml", *_STEPS],
}


def measured(found: Path, arguments: list[str]) -> None:
    """Run `oreflow` in this process, and write what it cost to a file, as JSON."""
    marks = {"start": time.process_time()}
    functions: dict[str, list[float]] = {}
    open_since: list[list[float]] = []  # of the compilations under way: CPU seconds at the start, and those of callees

    from numba.core import event

    class Compilations(event.Listener):
        def on_start(self, _: Any) -> None:
            open_since.append([time.process_time(), 0.0])

        def on_end(self, what: Any) -> None:
            started, of_callees = open_since.pop()
            took = time.process_time() - started
            if open_since:
                open_since[-1][1] += took
            function = what.data["dispatcher"].py_func
            name = f"{function.__module__.removeprefix('oreflow.')}.{function.__qualname__}"
            own = functions.setdefault(name, [0, 0.0])
            own[0] += 1
            own[1] += took - of_callees

    event.register("numba:compile", Compilations())
    marks["numba imported"] = time.process_time()

    from oreflow.agent.cli import app
    from oreflow.agent.training import loop

    make_learner = loop.make_learner

    def noting(*args: Any) -> Any:
        learner = make_learner(*args)
        step = learner.step

        def first(*args: Any) -> Any:
            marks.setdefault("first step begins", time.process_time())
            update = step(*args)
            marks.setdefault("first step ends", time.process_time())
            return update

        learner.step = first  # type: ignore[method-assign]
        return learner

    loop.make_learner = noting
    marks["imported"] = time.process_time()
    code = app(arguments, standalone_mode=False)
    if code:
        raise SystemExit(code)
    found.write_text(json.dumps({"marks": marks, "functions": functions}), encoding="utf-8")


def run(arguments: list[str], cache: Path, folder: Path) -> dict[str, Any]:
    """What one command costs with a cache: `cpu`, `wall`, `marks` and `functions`."""
    found = folder / "found.json"
    command = [sys.executable, "-m", "benchmarks.agent.bench_cold_start", "--measure", str(found), "--", "train"]
    command += [*arguments, "--out", str(folder / "run"), "--overwrite", "--quiet"]
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"NUMBA_CACHE_DIR": str(cache)}, stdout=subprocess.DEVNULL)
    after, wall = os.times(), time.perf_counter() - started
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"cpu": cpu, "wall": wall, **json.loads(found.read_text(encoding="utf-8"))}


def show(name: str, cold: dict[str, Any], warm: dict[str, Any], n_functions: int) -> None:
    """Print the figures of one command and the functions that took longest."""
    for which, found in (("first use", cold), ("second use", warm)):
        marks, functions = found["marks"], found["functions"]
        print(
            f"{name}, {which}: {found['cpu']:.1f} s of CPU time, {found['wall']:.1f} s on the clock; first step begins "
            f"after {marks['first step begins']:.1f} and ends after {marks['first step ends']:.1f} s of CPU time; "
            f"{sum(n for n, _ in functions.values())} compilations of {len(functions)} functions, "
            f"{sum(seconds for _, seconds in functions.values()):.1f} s",
            flush=True,
        )
    longest = sorted(cold["functions"].items(), key=lambda item: -item[1][1])
    for function, (n, seconds) in longest[:n_functions]:
        print(f"  {seconds:6.2f} s  {n:3d} x  {function}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(COMMANDS), nargs="+", default=list(COMMANDS), help="which commands")
    parser.add_argument("--functions", type=int, default=15, help="functions to list for each command")
    parser.add_argument("--json", type=Path, help="metrics.json of a record to write")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measured(options.measure, options.command)
        return
    runs: dict[str, Any] = {}
    started = time.perf_counter()
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            cold, warm = (run(COMMANDS[name], cache, Path(folder)) for _ in range(2))
        show(name, cold, warm, options.functions)
        runs[name] = {"first use": cold, "second use": warm}
    if options.json:
        write_timings(options.json, "agent.bench_cold_start", ["--only", *options.only], runs, 1, started)


if __name__ == "__main__":
    main()
