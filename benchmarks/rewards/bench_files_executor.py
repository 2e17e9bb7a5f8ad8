"""A slow reward on a batch system with a queue of two, whose jobs fail, and a trainer that restarts in between.

    python -m benchmarks.rewards.bench_files_executor [--objects 120] [--seconds 2]

A job is `oreflow worker`, which answers what is open. The first to be started exits at once, the third is killed in the
midst of its work, and jobs leave the queue in random order. One object crashes its worker the first time, one each
time; one hangs each time. The trainer is closed after a third of the answers, and another one goes on. The reward notes
the start and the end of each call in a file, and that is what is counted.

Ideal is all calls one after the other on two machines, without a start, a queue or a restart.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rewards.bench_executors import PLUGIN, account, objects
from oreflow.rewards.executors.batch import files
from oreflow.rewards.executors.settings import ExecutorSettings
from oreflow.rewards.isolation.term import IsolatedTerm
from oreflow.rewards.registry import load_plugin

SLOTS = 2
_KILLED_AFTER_S = 9.0


class Queue:
    """Runs jobs that were noted in a file, two at a time, in random order; the first fails, the third is killed."""

    def __init__(self, spool: Path, job: list[str]) -> None:
        self.n_jobs = 0
        self._spool, self._job, self._over = spool, job, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        spool.touch()
        self._thread.start()

    def _run(self) -> None:
        waiting: list[int] = []
        running: dict[subprocess.Popen[bytes], tuple[int, float]] = {}
        n_read = n_started = 0
        while not self._over.wait(0.05):
            counts = [int(n) for n in self._spool.read_text().split()]
            for n in counts[n_read:]:
                waiting += range(self.n_jobs, self.n_jobs + n)
                self.n_jobs += n
            n_read = len(counts)
            for process, (number, since) in list(running.items()):
                if number == 2 and time.monotonic() - since > _KILLED_AFTER_S and process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                if process.poll() is not None:
                    del running[process]
            while waiting and len(running) < SLOTS:
                waiting.pop(random.randrange(len(waiting)))
                job = [sys.executable, "-c", "raise SystemExit(1)"] if n_started == 0 else self._job
                process = subprocess.Popen(job, stdout=subprocess.DEVNULL, start_new_session=True)
                running[process] = n_started, time.monotonic()
                n_started += 1
        for process in running:
            process.terminate()
            process.wait()

    def close(self) -> None:
        """End all jobs."""
        self._over.set()
        self._thread.join()


def run(n_objects: int, seconds: float, time_limit_s: float) -> dict[str, Any]:
    """Score the objects, restart the trainer after a third of them, and count."""
    files.LEASE_S = 10.0  # two minutes by default, which would be most of this run
    random.seed(0)
    batch = objects(n_objects)
    names = np.array(batch.formulas())
    faults = [str(names[n_objects // k]) for k in (4, 3, 2)]
    with tempfile.TemporaryDirectory() as place:
        plugin, log, folder, spool = (Path(place, name) for name in ("sleeping.py", "log", "requests", "spool"))
        plugin.write_text(PLUGIN)
        log.touch()
        load_plugin(plugin)
        params = {"log": str(log), "seconds": seconds, "crash_once": faults[0], "crash": faults[1], "hang": faults[2]}
        command = f"sh -c 'echo {{n}} >> {spool}'"

        def trainer() -> IsolatedTerm:
            settings = ExecutorSettings("files", folder=str(folder), submit=command)
            return IsolatedTerm("sleeping", params, time_limit_s=time_limit_s, executor=settings)

        job = [sys.executable, "-m", "oreflow.agent.cli", "worker", str(folder), "--plugin", str(plugin)]
        queue, term = Queue(spool, job), trainer()
        started = time.monotonic()
        n_submitted = term.submit(batch)
        while term.known(batch).sum() < n_objects // 3:
            term.collect(60.0)
        term.close()
        term = trainer()
        term.submit(batch)
        n_answers = 0
        while term.n_under_way:
            n_answers += term.collect(60.0)
        wall = time.monotonic() - started
        values = term(batch)
        term.close()
        queue.close()
        lines = [line.split() for line in log.read_text().splitlines()]
    ended = Counter(name for word, name, *_ in lines if word == "end")
    ideal = ((n_objects - 2) * seconds + 2 * time_limit_s) / SLOTS
    return {
        "objects": n_objects,
        "submitted": n_submitted,
        "jobs": queue.n_jobs,
        "answers to the second trainer": n_answers,
        **account(batch, values, lines, ended),
        "wall_s": wall,
        "ideal_s": ideal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=120)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--time-limit", type=float, default=5.0)
    options = parser.parse_args()
    found = run(options.objects, options.seconds, options.time_limit)
    for name, value in found.items():
        print(f"{name}: {value}")
    print(f"wall time above ideal: {100 * (found['wall_s'] / found['ideal_s'] - 1):.1f} %")


if __name__ == "__main__":
    main()
