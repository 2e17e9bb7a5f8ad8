"""`oreflow warm-up`: compile ahead what commands compile at their first use."""

import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.resources import as_file
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from oreflow.agent.commands.common import DONE, AsJson, Plugins, Quiet, load_plugins, print_json, verb

if TYPE_CHECKING:
    from oreflow.agent.config.run import Config

_POLICY_GRADIENT = "sampler.kind=policy_gradient", "sampler.epsilon_start=0", "sampler.epsilon_end=0"
# Names of configs, each with its overrides. Worlds that share functions stand together, so that processes side by side
# compile little twice; the objectives that are no overrides of tiny_exact need no function of their own.
_SHIPPED: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("open_crystals",), ("perovskites",), ("tiny_crystals",)),
    (
        ("quickstart",),
        ("tiny_exact",),
        ("tiny_exact", *_POLICY_GRADIENT),
        ("tiny_exact", "sampler.objective=sub_trajectory_balance"),
        ("tiny_alloys",),
    ),
)


class Compiled(NamedTuple):
    """What using some configs has compiled."""

    n: int  # compilations
    uncached: list[str]  # why compiled functions are not in the cache, sentences


@verb
def warm_up(
    configs: Annotated[
        list[str] | None,
        typer.Argument(help="What to be fast with: names of configs that ship, or YAML files.", metavar="[CONFIG]..."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="How many compile side by side; 2 where two cores are.")
    ] = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Compile ahead what training and sampling compile at their first use, for images and shared installations.

    Without configs it is what formulas, alloys and crystals need, with both families of samplers. What is compiled is
    for the processor of this machine; it lies where numba keeps it, or in the folder that the environment variable
    NUMBA_CACHE_DIR names.

    Example: oreflow warm-up
    Example: oreflow warm-up quickstart my_search/config.yaml
    """
    from oreflow.agent.errors import OutputError

    load_plugins(plugin)
    for name in configs or ():  # before any work
        _load(name)
    started = time.monotonic()
    groups = [((name,),) for name in configs] if configs else _SHIPPED
    n_processes = min(processes or min(os.cpu_count() or 1, 2), len(groups))
    with ProcessPoolExecutor(n_processes, multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(partial(use, plugins=plugin), groups))
    n, seconds = sum(compiled.n for compiled in done), time.monotonic() - started
    for compiled in done:
        if compiled.uncached:
            raise OutputError(compiled.uncached[0])
    if as_json:
        print_json({"compilations": n, "processes": n_processes, "seconds": seconds})
    elif not quiet:
        side = f", {n_processes} processes side by side" if n_processes > 1 else ""
        print(f"{n} compilations in {seconds:.0f} s{side}" if n else "all of it was compiled before")
    return DONE


def use(configs: Sequence[Sequence[str]], plugins: list[Path] | None = None) -> Compiled:
    """Train for two steps and draw a few candidates with each config, in a scratch folder.

    Args:
        configs: each the name of a config that ships, or a YAML file, and overrides of its keys.
        plugins: files that the configs need.
    """
    from numba.core import event

    with (
        tempfile.TemporaryDirectory(prefix="oreflow-warm-up-") as scratch,
        event.install_recorder("numba:compile") as recorder,
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        load_plugins(plugins)
        for i, (name, *overrides) in enumerate(configs):
            _train_and_sample(_load(name, [*overrides, "sampler.steps=2"]), Path(scratch) / str(i))
    messages = [str(warning.message) for warning in said]
    return Compiled(
        sum(compilation.is_start for _, compilation in recorder.buffer),
        [message for message in messages if message.startswith("compiled functions cannot")],
    )


def _load(name: str, overrides: list[str] | None = None) -> "Config":
    """The config of a YAML file, or one that ships."""
    from oreflow.agent.config.run import load_config
    from oreflow.agent.config.shipped import shipped_config

    if Path(name).suffix in (".yaml", ".yml"):
        return load_config(Path(name), overrides)
    with as_file(shipped_config(name)) as path:
        return load_config(path, overrides)


def _train_and_sample(config: "Config", out: Path) -> None:
    from oreflow.agent.sampling.sample import sample
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train

    kernel, reward = make_checked(config, "warm-up")
    folder = RunFolder(out)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, kernel=kernel, reward=reward, quiet=True)
    sample(folder, 20, out=folder.samples, unique=True, quiet=True)
