"""The worker process of an isolated reward: builds one term, then answers batches until its parent goes away.

Frames of pickled data travel over the process's own standard input and output, which the term never sees: it gets an
empty input, and the file that the parent gave as standard error for whatever it, or a C library, prints.
"""

import contextlib
import faulthandler
import os
import pickle
import queue
import shutil
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, BinaryIO

from oreflow.rewards.isolation.messages import from_message, read_frame, write_frame

_SHOWN_CHARACTERS = 200


def private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes to the parent away from the standard streams, and leave an empty standard input.

    Returns:
        requests, answers: what the parent sends, and what it reads.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return requests, answers


def read_in_background(stream: BinaryIO, leftovers: Sequence[str] = ()) -> queue.Queue:
    """Read messages in a thread, and end this process when its parent is gone, also when its main thread hangs.

    Args:
        stream: where the messages come from.
        leftovers: folders to remove at that end; they may be added later.

    Returns:
        the queue that receives the messages.
    """
    inbox: queue.Queue = queue.Queue()
    threading.Thread(target=_read_until_parent_is_gone, args=(stream, inbox, leftovers), daemon=True).start()
    return inbox


def _read_until_parent_is_gone(stream: BinaryIO, inbox: queue.Queue, leftovers: Sequence[str]) -> None:
    try:
        while True:
            inbox.put(read_frame(stream))
    except (EOFError, OSError):
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        # Also when the term hangs, and with what it has started: no orphans.
        if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(0)


def _build(recipe: dict[str, Any]) -> Any:
    from oreflow.rewards.registry import load_plugin, make_term

    if recipe["term"] is not None:
        return pickle.loads(recipe["term"])
    for path in recipe["plugins"]:
        load_plugin(path)
    return make_term(recipe["name"], recipe["params"])


def main() -> None:
    """Run the worker; `oreflow.rewards.isolation.term` starts it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    # Private copies of the pipes; then the term's own standard streams lead elsewhere, for C code too.
    requests, answers = private_pipes()
    printed = os.fdopen(os.dup(2), "r+b", buffering=0)
    os.dup2(2, 1)
    faulthandler.enable()  # a crash, or the parent's SIGABRT when time is up, leaves its traceback in that file

    # pymatgen says this of every element without one; it is no message of the term's.
    warnings.filterwarnings("ignore", message="No Pauling electronegativity")
    inbox = read_in_background(requests)
    from oreflow.rewards.contract.term import as_term
    from oreflow.rewards.errors import RewardWarning

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", message="No Pauling electronegativity")
            term = as_term(_build(inbox.get()))
        about: dict[str, Any] = {
            "name": term.name,
            "unit": term.unit,
            "version": term.version,
            "citations": term.citations,
        }
        about |= {"requires": term.requires, "needs_geometry": term.needs_geometry}
        told = [str(warning.message) for warning in said if issubclass(warning.category, RewardWarning)]
        write_frame(answers, {"ready": about, "warnings": told})
    except (Exception, SystemExit) as error:
        write_frame(answers, {"failed": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})
        return
    process = os.getpid()
    while True:
        request = inbox.get()
        answer = _answer(term, request, printed)
        if os.getpid() != process:  # a child that the term forked and let come back here
            os._exit(1)
        write_frame(answers, answer | {"number": request["number"]})


def _answer(term: Any, request: dict[str, Any], printed: BinaryIO) -> dict[str, Any]:
    from oreflow.envs.errors import OreflowError
    from oreflow.rewards.contract.evaluation import evaluate_term
    from oreflow.rewards.contract.guard import guarded

    batch = from_message(request)
    try:
        # Standard streams stay those of the process, so that Python's and C's output meet in one file.
        with guarded(capture=False) as found:
            values = evaluate_term(term, batch, watched=False)
        found = [*found, *_printed(printed)]
    except OreflowError as error:
        return {"raised": type(error).__name__, "message": str(error)}
    return {"values": values, "side_effects": found}


def _printed(file: BinaryIO) -> list[str]:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # the term may have closed or removed it
            stream.flush()
    file.seek(0)
    text = file.read(4 * _SHOWN_CHARACTERS).decode(errors="replace").strip()
    file.seek(0)
    file.truncate()  # what is there when the process dies belongs to the last batch
    return [f"printed {text[:_SHOWN_CHARACTERS]!r}"] if text else []


if __name__ == "__main__":
    main()
