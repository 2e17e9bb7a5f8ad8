"""The connection of this process to a Ray cluster."""

import contextlib
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from oreflow.rewards.errors import ExecutorError

INSTALL = "pip install 'oreflow[ray]'"
# So often a task may be taken elsewhere because the machine that worked at it went away.
MAX_MACHINES_LOST = 3
_REACH_LIMIT_S = 10.0


def connect(address: str | None, n_cpus: int | None = None) -> Any:
    """Connect this process to a Ray cluster, once, and return the module `ray`.

    Args:
        address: "HOST:PORT", "ray://HOST:PORT" or "auto"; None starts a cluster here, which ends with this process.
        n_cpus: of the cluster that is started; None: as many as this machine has.

    Raises:
        ExecutorError: when Ray is not installed, no cluster answers, or its versions differ.
    """
    # Ray reports its use to its makers unless told otherwise; nothing here goes to the network by itself.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What fills a machine's memory would be tried for ever: Ray counts these tries apart from those of a lost machine.
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_MACHINES_LOST))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what Ray's next versions will change
        try:
            import ray
        except ImportError:
            raise ExecutorError(f"expected Ray for the executor `ray`, got none installed: {INSTALL}") from None
        if ray.is_initialized():
            return ray
        _reach(address)
        _keep_off_standard_output(ray)
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address is None:
            options |= {"num_cpus": n_cpus, "include_dashboard": False}
        try:
            with _own_signals():
                ray.init("local" if address is None else address, **options)
        except Exception as error:  # ConnectionError, RuntimeError, ValueError and others, by version of Ray
            raise ExecutorError(_why_not(address, " ".join(str(error).split()) or type(error).__name__)) from None
    return ray


def _keep_off_standard_output(ray: Any) -> None:
    """Send what Ray tells of its machines to standard error, one line each: standard output may be a verb's JSON."""
    worker = ray._private.worker
    tell = getattr(worker, "print_to_stdstream", None)  # there is no public way
    if tell is None or getattr(tell, "brief", False):
        return

    def tell_briefly(data: dict[str, Any], *args: Any, **options: Any) -> None:
        lines = [str(line).partition("\n")[0] for line in data.get("lines", ())]
        tell({**data, "lines": lines, "is_err": True}, *args, **options)

    tell_briefly.brief = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = tell_briefly


def _why_not(address: str | None, said: str) -> str:
    if "version mismatch" in said.lower():
        return (
            f"expected the Ray cluster at {address} to have the versions of Ray and Python that are here; {said}. "
            "Install the same on both sides"
        )
    where = "to start a Ray cluster on this machine" if address is None else f"a Ray cluster at {address}"
    return f"expected {where}, got: {said[:300]}; `ray status` on the head node says whether one runs there"


def _reach(address: str | None) -> None:
    """Raise ExecutorError at once where nothing listens at an address; Ray itself would try for a minute."""
    if address is None or address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ExecutorError(f"expected the address of a Ray cluster as HOST:PORT or ray://HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), _REACH_LIMIT_S).close()
    except (OSError, OverflowError) as error:
        raise ExecutorError(
            f"expected a Ray cluster at {address}, got: {error}; start one there with `ray start --head "
            f"--port {port}`, or leave the address out, which starts one for the run"
        ) from None


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Leave signals as they are handled here: Ray ends the process on SIGTERM, which a run answers by a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)
