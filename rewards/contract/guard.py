"""Keeps what a user's reward does on the side away from the run: prints, working directory, environment, random state.

All of it is put back after every call and reported once for each kind. What a term prints from C code is caught only in
a worker process (`oreflow.rewards.isolation.term`).
"""

import contextlib
import io
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from oreflow.rewards.errors import RewardWarning

_SHOWN_CHARACTERS = 200
_reported: set[tuple[str, str]] = set()


def _torch_state() -> Any:
    torch = sys.modules.get("torch")
    # Absent while torch is being imported.
    return torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None


def _set_torch_state(state: Any) -> None:
    sys.modules["torch"].set_rng_state(state)


def _set_environment(environment: dict[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


# What is watched: how to read it, how to put it back, how to tell two readings apart.
_WATCHED: dict[str, tuple[Callable[[], Any], Callable[[Any], None], Callable[[Any, Any], bool]]] = {
    "changed the working directory": (os.getcwd, os.chdir, lambda a, b: a != b),
    "changed environment variables": (lambda: dict(os.environ), _set_environment, lambda a, b: a != b),
    "drew from Python's global random state": (random.getstate, random.setstate, lambda a, b: a != b),
    "drew from numpy's global random state": (
        np.random.get_state,
        np.random.set_state,
        lambda a, b: a[2] != b[2] or bool((a[1] != b[1]).any()),
    ),
    "drew from torch's global random state": (
        _torch_state,
        _set_torch_state,
        lambda a, b: not bool((a == b).all()),
    ),
}


@contextlib.contextmanager
def guarded(*, capture: bool = True) -> Iterator[list[str]]:
    """Runs a block, then puts back what it changed; yields the list that receives a phrase for each change.

    Where the block is the first to import another package, changes are put back and not told of: packages do such
    things when they are imported, and nobody can mend them here.

    Args:
        capture: whether what the block prints is kept from the screen.
    """
    modules = set(sys.modules)
    before = {what: _read(read) for what, (read, _, _) in _WATCHED.items()}
    found: list[str] = []
    printed = io.StringIO()
    try:
        with contextlib.ExitStack() as stack:
            if capture:
                stack.enter_context(contextlib.redirect_stdout(printed))
                stack.enter_context(contextlib.redirect_stderr(printed))
            yield found
    finally:
        for what, (read, restore, differs) in _WATCHED.items():
            if before[what] is not None and differs(before[what], _read(read)):
                restore(before[what])
                found.append(what)
        text = "" if printed.closed else printed.getvalue().strip()
        if text:
            shown = text[:_SHOWN_CHARACTERS] + ("..." if len(text) > _SHOWN_CHARACTERS else "")
            found.append(f"printed {shown!r}")
        if _foreign(set(sys.modules) - modules):
            found.clear()


def _foreign(modules: set[str]) -> bool:
    """Whether any of these modules is neither of the standard library, nor oreflow's, nor a plug-in file."""
    tops = {name.partition(".")[0] for name in modules}
    return any(top not in sys.stdlib_module_names and not top.startswith(("oreflow", "_")) for top in tops)


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError:  # the working directory is gone
        return None


def report(who: str, found: list[str]) -> None:
    """Warns of side effects: each kind once for each reward."""
    for what in found:
        kind = what.split(" ")[0] if what.startswith("printed") else what
        if (who, kind) not in _reported:
            _reported.add((who, kind))
            undone = "kept from the screen" if kind == "printed" else "undone"
            warnings.warn(f"{who} {what}; {undone}, and not reported again", RewardWarning, stacklevel=2)
