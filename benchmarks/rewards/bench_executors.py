"""A slow reward on three Ray nodes of this machine, of which one is killed: is each object answered once, and how soon.

    python -m benchmarks.rewards.bench_executors [--objects 640] [--workers 64] [--seconds 2]

The workers sleep, so they need no cores of their own. One object crashes its worker the first time, one each time; one
hangs each time. After a third of the ideal time a node is killed, with what its workers are at. The reward notes the
start and the end of each call in a file, and that is what is counted.

Ideal is the time of a machine without any overhead: free slots take the next object at once, the killed node's are gone
from that moment on, and what they were at starts again. The clock starts once all workers are up; starting them is
timed by itself.
"""

import argparse
import contextlib
import heapq
import itertools
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.executors.settings import ExecutorSettings
from oreflow.rewards.isolation.term import IsolatedTerm
from oreflow.rewards.registry import load_plugin

PLUGIN = """
import os, time
import numpy as np
from oreflow import rewards

@rewards.register("sleeping")
class Sleeping:
    "Sleeps; crashes on one formula once and on another always; hangs on a third."
    name, unit, version, citations, requires = "sleeping", "1", "1", (), "composition"

    def __init__(self, log, seconds, crash_once, crash, hang):
        self.log, self.seconds, self.faults = log, seconds, (crash_once, crash, hang)

    def note(self, word, formula):
        line = f"{word} {formula} {os.getpid()} {time.monotonic()}\\n".encode()
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line)
        os.close(file)

    def __call__(self, batch):
        crash_once, crash, hang = self.faults
        for formula in batch.formulas():
            again = formula == crash_once and f"start {formula} " in open(self.log).read()
            self.note("start", formula)
            if formula == crash or (formula == crash_once and not again):
                os._exit(9)
            time.sleep(3600.0 if formula == hang else self.seconds)
            self.note("end", formula)
        return rewards.TermValues(batch.reduced().n_atoms.astype(float), np.ones(len(batch), dtype=bool))
"""


def objects(n: int) -> Compositions:
    """The first n of a list of formulas, which are different compositions."""
    pairs = itertools.combinations(
        ["Li", "Na", "K", "Mg", "Ca", "Sr", "Ba", "Al", "Ga", "Ti", "Zr", "V", "Cr", "Mn"], 2
    )
    formulas = [f"{a}{b}O{k}" for a, b in pairs for k in (2, 3, 4, 5, 7, 9, 11, 13, 15, 17)]
    assert n <= len(formulas), f"at most {len(formulas)} objects"
    return parse_formulas(formulas[:n])[0]


def ideal_s(seconds: list[float], slots: list[int], killed_at: float) -> float:
    """Wall time without overhead of a list of tasks on nodes with so many slots, the last of which ends at a time."""
    free = [(0.0, node, slot) for node, n in enumerate(slots) for slot in range(n)]
    heapq.heapify(free)
    waiting = sorted(seconds)  # the longest, which is last, goes first
    last = 0.0
    while waiting:
        at, node, slot = heapq.heappop(free)
        if node == len(slots) - 1:
            if at >= killed_at:
                continue
            if at + waiting[-1] > killed_at:  # starts again elsewhere, from when it was lost
                heapq.heappush(free, (killed_at, node, slot))
                later = [entry for entry in free if entry[1] != node]
                begin = max(min(later)[0], killed_at)
                free.remove(min(later))
                heapq.heapify(free)
                end = begin + waiting.pop()
                heapq.heappush(free, (end, *min(later)[1:]))
                last = max(last, end)
                continue
        end = at + waiting.pop()
        last = max(last, end)
        heapq.heappush(free, (end, node, slot))
    return last


def start_nodes(slots: list[int]) -> Any:
    """Ray nodes on this machine, with so many CPUs each as far as Ray is told."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    memory = {"object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": slots[0], "include_dashboard": False, **memory})
    nodes = [cluster.add_node(num_cpus=n, **memory) for n in slots[1:]]
    cluster.wait_for_nodes()
    assert not ray.is_initialized()
    return cluster, nodes


def kill_node(cluster: Any, node: Any) -> set[int]:
    """End a node and all that runs on it at one moment, as when a machine loses power; return the process ids."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    killed = {entry.process.pid for entries in node.all_processes.values() for entry in entries}
    while more := {pid for pid, parent in parents.items() if parent in killed} - killed:
        killed |= more
    for pid in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)
    return killed


def warm_up(term: IsolatedTerm, batch: Compositions, log: Path, workers: int) -> float:
    """Seconds until so many worker processes have ended a call; the batch is used up for that."""
    started = time.monotonic()
    term.submit(batch)
    while term.n_under_way:
        term.collect(60.0)
    pids = {line.split()[2] for line in log.read_text().splitlines() if line.startswith("end")}
    print(f"{len(pids)} of {workers} workers up after {time.monotonic() - started:.1f} s")
    return time.monotonic() - started


def left_behind(pids: set[int], patience_s: float = 20.0) -> int:
    """How many processes are still there after a while."""
    deadline = time.monotonic() + patience_s
    while (pids := set(filter(is_there, pids))) and time.monotonic() < deadline:
        time.sleep(0.2)
    return len(pids)


def is_there(pid: int) -> bool:
    """Whether a process has not ended."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())  # empty of one that nobody has waited for
    except OSError:
        return False


def run(n_objects: int, workers: int, seconds: float, time_limit_s: float) -> dict[str, Any]:
    """Score the objects on three nodes, kill one, and count."""
    slots = [workers - 2 * (workers // 3), workers // 3, workers // 3]
    n_warm = 3 * workers
    batch = objects(n_objects + n_warm)
    warm, batch = batch[n_objects:], batch[:n_objects]
    names = np.array(batch.formulas())
    faults = [str(names[n_objects // k]) for k in (4, 3, 2)]
    cluster, nodes = start_nodes(slots)
    with tempfile.TemporaryDirectory() as folder:
        plugin, log = Path(folder, "sleeping.py"), Path(folder, "log")
        plugin.write_text(PLUGIN)
        log.touch()
        load_plugin(plugin)
        params = {"log": str(log), "seconds": seconds, "crash_once": faults[0], "crash": faults[1], "hang": faults[2]}
        settings = ExecutorSettings("ray", address=cluster.address)
        term = IsolatedTerm("sleeping", params, time_limit_s=time_limit_s, executor=settings)
        warm_up(term, warm, log, workers)
        log.write_text("")
        slow = [seconds] * (n_objects - 2) + [0.0, 0.0, 2 * time_limit_s]
        kill_at = ideal_s(slow, slots, float("inf")) / 3
        started = time.monotonic()
        n_submitted, n_answers, killed = term.submit(batch), 0, None
        while term.n_under_way:
            n_answers += term.collect(0.2 if killed is None else 60.0)
            if killed is None and time.monotonic() - started >= kill_at:
                answered = set(names[term.known(batch)])
                killed = time.monotonic()
                dead = kill_node(cluster, nodes[-1])
                after = f"after {killed - started:.1f} s, when {n_answers} were answered"
                print(f"a node with {slots[-1]} workers killed {after}")
        wall = time.monotonic() - started
        assert killed is not None, "all was done before the node was killed; give it more objects"
        values = term(batch)
        lines = [line.split() for line in log.read_text().splitlines()]
        term.close()
        import ray

        ray.shutdown()
        cluster.shutdown()
    # A call that ended on the node as it died, before its answer was sent, is of the node's and nobody has it.
    ended = Counter(n for word, n, pid, _ in lines if word == "end" and (n in answered or int(pid) not in dead))
    return {
        "objects": n_objects,
        "submitted": n_submitted,
        "answers": n_answers,
        **account(batch, values, lines, ended),
        "wall_s": wall,
        "ideal_s": ideal_s(slow, slots, killed - started),
    }


def account(batch: Compositions, values: TermValues, lines: list[list[str]], ended: Counter[str]) -> dict[str, Any]:
    """Hold what came against what was called.

    Args:
        lines: of the reward's log: start or end, formula, process.
        ended: how often a call for each formula was carried to its end, and so paid for.
    """
    names = batch.formulas()
    calls = Counter(name for word, name, *_ in lines if word == "start")
    return {
        "valid": int(values.valid.sum()),
        "set_aside": {names[row]: reason for row, reason in values.reasons.items()},
        "called_twice": sum(n > 1 for n in calls.values()),
        "paid_twice": sum(n > 1 for n in ended.values()),
        "never_called": len(set(names) - set(calls)),
        "left_behind": left_behind({int(pid) for *_, pid, _ in lines}),
        "right": bool(np.array_equal(values.values[values.valid], batch.reduced().n_atoms[values.valid])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=640)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--time-limit", type=float, default=10.0)
    options = parser.parse_args()
    found = run(options.objects, options.workers, options.seconds, options.time_limit)
    for name, value in found.items():
        print(f"{name}: {value}")
    print(f"wall time above ideal: {100 * (found['wall_s'] / found['ideal_s'] - 1):.1f} %")


if __name__ == "__main__":
    main()
