"""The worker process: builds one function, then answers tasks until its parent goes away.

Frames of pickled data travel over the process's own standard input and output, which the function never sees: it gets
an empty input, and its prints go elsewhere.
"""

import faulthandler
import os
import pickle
import queue
import shutil
import signal
import threading
import traceback
from typing import Any, BinaryIO

from oreflow.rewards.executors.messages import read_frame, write_frame


def main() -> None:
    """Run the worker; `oreflow.rewards.executors.local` starts it."""
    for name in ("SIGINT", "SIGUSR1"):  # they are the parent's to answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    requests, answers = _private_pipes()
    leftovers: list[str] = []
    inbox = _read_in_background(requests, leftovers)
    recipe = inbox.get()
    if recipe["keep_output"]:
        os.dup2(2, 1)  # into the file that the parent gave as standard error; C libraries print there too
        faulthandler.enable()  # a crash, or the parent's SIGABRT when time is up, leaves its traceback in that file
    else:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries' prints would end up in the command's own output
    leftovers += [recipe["scratch"]] * bool(recipe["scratch"])
    try:
        function = pickle.loads(recipe["make"])()
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        write_frame(answers, {"kind": "failed", "reason": reason, "traceback": traceback.format_exc()})
        return
    write_frame(answers, {"kind": "ready", "about": getattr(function, "about", None)})
    if recipe["scratch"]:
        os.chdir(recipe["scratch"])
    process = os.getpid()
    while True:
        request = inbox.get()
        try:
            answer: dict[str, Any] = {"kind": "done", "value": function(request["payload"]), "reason": ""}
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            answer = {"kind": "raised", "value": None, "reason": reason}
        if os.getpid() != process:  # a child that the function forked and let come back here
            os._exit(1)
        write_frame(answers, answer | {"number": request["number"]})


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes to the parent away from the standard streams, and leave an empty standard input.

    Returns:
        requests, answers: what the parent sends, and what it reads.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return requests, answers


def _read_in_background(stream: BinaryIO, leftovers: list[str]) -> queue.Queue:
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


def _read_until_parent_is_gone(stream: BinaryIO, inbox: queue.Queue, leftovers: list[str]) -> None:
    try:
        while True:
            inbox.put(read_frame(stream))
    except (EOFError, OSError):
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        # Also when the function hangs, and with what it has started: no orphans.
        if hasattr(os, "killpg") and os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(0)


if __name__ == "__main__":
    main()
