"""What all verbs share: options, output, and one exit code for each kind of failure."""

import contextlib
import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from oreflow.agent.runtime.signals import interruptible

DONE, BAD_INPUT, STOPPED_BY_SIGNAL, REWARD_FAILED, IO_FAILED = 0, 2, 3, 4, 5
# BAD_INPUT is also a place that cannot be used, which shows before any work: another run, in use by another process,
# read-only. IO_FAILED is one that fails under the work, as a full disk does. 1 is a fault of oreflow itself.

ConfigPath = Annotated[Path, typer.Argument(help="YAML config.", metavar="CONFIG.yaml")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result, or the error, as JSON on stdout.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Root of all random streams; the config's by default.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file that registers rewards, worlds or others; repeatable."),
]
Beta = Annotated[
    float | None,
    typer.Option("--beta", help="Sample R^beta, from a run of sampler.family temperature; 1 by default if in range."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Weights of reward terms, from a run of sampler.family preference: TERM=NUMBER,...; equal by default.",
    ),
]
TargetValue = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="Value of a property, from a run of sampler.family target: TERM=NUMBER in the term's unit, such as "
        "formation_energy=-1.5; by default that of the config.",
    ),
]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Where the work is done: local, ray, or a YAML file with the keys of run.executor; processes here by "
        "default.",
    ),
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key: a.b=value; repeatable.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that an earlier command wrote there.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def verb(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turns exceptions of a verb into a message and an exit code; adds `--debug`."""

    @functools.wraps(function)
    def run(*args: Any, debug: bool = False, **kwargs: Any) -> None:
        message = ""
        try:
            with interruptible(), warnings.catch_warnings(), _information(quiet=bool(kwargs.get("quiet"))):
                warnings.showwarning = _show_warning
                code = function(*args, **kwargs) or DONE
            if sys.stdout is not None:  # None when it was closed before the start, as with >&-
                sys.stdout.flush()
        except typer.Exit:
            raise
        except BrokenPipeError:
            # The reader left (as in `| head`); keep the interpreter from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        except KeyboardInterrupt:
            message = "interrupted; complete checkpoints stay"
            print(message, file=sys.stderr)
            code = STOPPED_BY_SIGNAL
        except Exception as error:
            if debug:
                traceback.print_exc()
            code, message = _explain(error, debug), str(error)
        if message and kwargs.get("as_json"):
            with contextlib.suppress(OSError, ValueError):  # a full or closed stdout may be what failed
                print_json({"error": message, "exit_code": code})
                sys.stdout.flush()
        raise typer.Exit(code)

    # typer reads the signature: give it the verb's own plus --debug.
    import inspect

    signature = inspect.signature(function)
    extra = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), extra])  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, "debug": Debug}
    return run


@contextlib.contextmanager
def _information(quiet: bool) -> Iterator[None]:
    """Shows what the packages log as information, in the manner of all other messages, unless quiet."""
    logger = logging.getLogger("oreflow")
    if quiet:
        yield
        return
    handler, level = logging.StreamHandler(), logger.level
    handler.setFormatter(logging.Formatter("oreflow: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Warnings in the manner of all other messages; where they come from matters to no user of a command."""
    from oreflow.agent.errors import CheckpointWarning
    from oreflow.rewards.errors import RewardWarning

    where = "" if issubclass(category, RewardWarning | CheckpointWarning) else f" ({filename}:{lineno})"
    print(f"oreflow: warning: {message}{where}", file=sys.stderr)


def _explain(error: Exception, debug: bool) -> int:
    from oreflow.agent.errors import TrainingError
    from oreflow.envs.errors import OreflowError
    from oreflow.rewards.errors import RewardBudgetError, RewardContractError, WorkersLostError

    if isinstance(error, RewardBudgetError | RewardContractError | TrainingError | WorkersLostError):
        code = REWARD_FAILED
    elif isinstance(error, OSError):
        code = IO_FAILED
    elif isinstance(error, OreflowError | ValueError):
        code = BAD_INPUT
    else:
        if not debug:
            traceback.print_exc()
        code = 1
    print(f"oreflow: {error}", file=sys.stderr)
    return code


def may_write(path: Path, overwrite: bool) -> None:
    """Check, before any work, that a file named by the user is not there yet, or may be replaced.

    Raises:
        PlaceError: naming the file.
    """
    from oreflow.agent.errors import PlaceError

    if os.path.lexists(path) and not (overwrite and path.is_file()):
        remedy = "choose another --out" if overwrite else "choose another --out, or add --overwrite"
        raise PlaceError(f"{path} is there already; {remedy}")


def load_plugins(paths: list[Path] | None) -> list[str]:
    """Runs plug-in files; returns the paths as text for the record."""
    from oreflow.rewards.registry import load_plugin

    for path in paths or []:
        load_plugin(path)
    return [str(path) for path in paths or []]


def condition_line(condition: dict[str, Any]) -> str:
    """The condition of a summary in words."""
    from oreflow.agent.evaluation.satisfaction import NO_UNIT

    texts = []
    for kind in condition["kind"] if isinstance(condition["kind"], list) else [condition["kind"]]:
        if kind == "temperature":
            text, option = f"beta = {condition['beta']:g}", "--beta"
        elif kind == "target":
            unit = "" if condition["unit"] in NO_UNIT else f" {condition['unit']}"
            text = ", ".join(f"{name} = {value:g}{unit}" for name, value in condition["target"].items())
            option = "--target"
        else:
            text = ", ".join(f"{name} = {weight:.4g}" for name, weight in condition["weights"].items())
            text, option = f"weights {text}" if "defaults" in condition else text, "--weights"
        is_default = kind in condition["defaults"] if "defaults" in condition else condition["is_default"]
        texts.append(f"{text} (default; choose with {option})" if is_default else text)
    return "; ".join(texts)


def n_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def print_json(data: Any) -> None:
    """The result on stdout, as strict readers of JSON need it."""
    from oreflow.agent.storage.atomic_files import to_json

    print(to_json(data))


Reference = Annotated[
    Path | None,
    typer.Option("--reference", help="What is known, for novelty: a table of formulas, or CIFs and other structures."),
]


TableOption = Annotated[
    str | None,
    typer.Option("--oxidation-table", help="Table that neutrality is judged by: a name, or a CSV, JSON or YAML file."),
]


Mixed = Annotated[bool, typer.Option("--mixed-valence", help="Let atoms of one element differ in oxidation state.")]


FormulaColumn = Annotated[
    str | None,
    typer.Option("--formula-column", help="Column of formulas in tables; by default one of the usual names."),
]


def read_reference(reference: Path | None, formula_column: str | None = None, quiet: bool = False) -> Any:
    """Read the known compounds of `--reference`; rows that cannot be read are counted on stderr."""
    from oreflow.agent.tables.known_crystals import read_known

    if reference is None:
        return None
    known, bad = read_known(reference, formula_column, quiet)
    if bad:
        print(f"oreflow: {len(bad)} rows of {reference} skipped; {bad[0]}", file=sys.stderr)
    return known
