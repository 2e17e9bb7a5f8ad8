"""What workers run in the tests of `oreflow relax` instead of CHGNet: fast, and faulty on demand. Imports little."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def make_echo() -> Callable[[Any], Any]:
    def echo(task: Any) -> Any:
        match task:
            case "raise":
                raise ValueError("this one\nis wrong")
            case "exit":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                time.sleep(600)
            case "print":
                os.write(1, b"noise of a library\n")
            case "threads":
                return [os.environ[name] for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")]
        if task.startswith("once ") and not Path(task[5:]).exists():
            Path(task[5:]).touch()
            os._exit(7)
        return f"{task} done"

    return echo


def make_broken() -> Callable[[Any], Any]:
    raise RuntimeError("no such weights")


def make_dead() -> Callable[[Any], Any]:
    os._exit(9)


def make_parent_killer() -> Callable[[Any], Any]:
    def kill(task: Any) -> Any:
        os.kill(os.getppid(), signal.SIGKILL)

    return kill


def make_counting(log: str, seconds: float = 0.0) -> Callable[[Any], dict[str, Any]]:
    """Relaxes nothing: each structure keeps its place, and its volume is noted in a file, once a call."""

    def relax(task: Any) -> dict[str, Any]:
        vectors, species, fractional = task
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{vectors[0][0]:.4f}\n")
        time.sleep(seconds)
        if "Xe" in species:
            os._exit(1)
        return {
            "status": "converged",
            "reason": "",
            "vectors": [[float(x) for x in row] for row in vectors],
            "fractional": [[float(x) for x in row] for row in fractional],
            "energy_before_ev_per_atom": -3.0,
            "energy_ev_per_atom": -3.5,
            "max_force_ev_per_a": 0.01,
            "n_steps": 3,
        }

    return relax


def make_slow(settings: object, time_limit_s: float) -> Callable[[Any], dict[str, Any]]:
    return make_counting(os.environ["RELAX_LOG"], 0.4)


def patch_slow(log: str) -> None:
    """Makes `oreflow relax` take 0.4 s a structure, in whichever process it is called."""
    from oreflow.agent.relaxation import work

    os.environ["RELAX_LOG"] = log
    work.make_relaxer = make_slow
