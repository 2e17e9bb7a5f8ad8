"""A batch system for tests: a queue of two, jobs in random order, and jobs that fail at random. Run as a script, a job.

`submit FOLDER N` notes N jobs in a file, as `sbatch` does; `FakeBatch` runs them.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.support.repository import ROOT

FAULTS = ("killed", "node_fails", "half_written", "foreign")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}


class FakeBatch:
    """Two jobs at a time, in an order of its own; the first `faulty` jobs that run have a fault each.

    Attributes:
        submitted: jobs, so far.
    """

    def __init__(self, folder: Path, plugin: Path, seed: int, faults: tuple[str, ...]) -> None:
        self.folder, self.plugin = folder, plugin
        self._spool = folder.parent / "spool"
        self._spool.mkdir()
        self._random, self._faults = random.Random(seed), list(faults)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.command = (
            f"env PYTHONPATH={environment()['PYTHONPATH']} {sys.executable} {__file__} submit {self._spool} {{n}}"
        )
        self.submitted = 0

    def __enter__(self) -> "FakeBatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        queue: list[int] = []
        running: list[subprocess.Popen] = []
        while not self._over.is_set():
            for path in sorted(self._spool.glob("*.json")):
                n = json.loads(path.read_text())
                path.unlink()
                queue += range(self.submitted, self.submitted + n)
                self.submitted += n
            running = [job for job in running if job.poll() is None]
            while queue and len(running) < 2:
                number = queue.pop(self._random.randrange(len(queue)))
                fault = self._faults.pop() if self._faults else "none"
                if fault == "node_fails":  # before the job begins; it is put back into the queue
                    queue.append(number)
                    continue
                job = [sys.executable, __file__, "job", str(self.folder), str(self.plugin), fault]
                running.append(subprocess.Popen(job, env=environment(), stdout=subprocess.DEVNULL))
            time.sleep(0.05)
        for job in running:
            job.kill()
            job.wait()


def submit(spool: Path, n: int) -> None:
    temporary = spool / f"{time.time_ns()}.{os.getpid()}.tmp"
    temporary.write_text(str(n))
    temporary.rename(temporary.with_suffix(".json"))
    print(f"Submitted batch job {os.getpid()}")


def job(folder: Path, plugin: Path, fault: str) -> None:
    from oreflow.agent.commands.services.worker import works
    from oreflow.rewards.executors.batch import serving
    from oreflow.rewards.registry import load_plugin

    serving.BEAT_S = 0.2
    honest = serving._write

    def write(where, answer, value, told):
        path = where.answer(answer.id)
        if fault == "half_written":
            path.write_text('{"schema_version": 1, "id": "')
        else:
            path.write_text(json.dumps({"id": "somebody_else", "value": 1.0}))
        return True

    def killed(where, task_id):
        os.kill(os.getpid(), signal.SIGKILL)

    if fault == "killed":
        serving._read = killed
    serving._write = write if fault in ("half_written", "foreign") else honest
    if fault in ("half_written", "foreign"):  # the object is not paid for by a script that answers nonsense
        serving._Crews.answer = lambda self, request: (serving.Answer(request["id"], "done"), None)
    load_plugin(plugin)
    serving.serve(folder, works([str(plugin)]), n=1, wait_s=2.0)


if __name__ == "__main__":
    if sys.argv[1] == "submit":
        submit(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        job(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
