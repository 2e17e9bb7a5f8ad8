"""The worker process of independent tasks: builds one function, then answers tasks until its parent goes away."""

import os
import pickle
import signal
from typing import Any

from oreflow.rewards.isolation.messages import write_frame
from oreflow.rewards.isolation.worker import private_pipes, read_in_background


def main() -> None:
    """Run the worker; `oreflow.agent.relaxation.pool` starts it."""
    for name in ("SIGINT", "SIGUSR1"):  # they are the parent's to answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    requests, answers = private_pipes()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print would end up in the command's own output
    leftovers: list[str] = []
    inbox = read_in_background(requests, leftovers)
    recipe = inbox.get()
    leftovers.append(recipe["scratch"])
    try:
        function = pickle.loads(recipe["make"])()
    except BaseException as error:
        write_frame(answers, {"kind": "failed", "reason": f"{type(error).__name__}: {error}"})
        return
    write_frame(answers, {"kind": "ready"})
    os.chdir(recipe["scratch"])
    while True:
        task = inbox.get()["task"]
        try:
            answer: dict[str, Any] = {"kind": "done", "value": function(task), "reason": ""}
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            answer = {"kind": "raised", "value": None, "reason": reason}
        write_frame(answers, answer)
