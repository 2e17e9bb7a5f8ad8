"""`train` and `resume`."""

from pathlib import Path
from typing import Annotated

import typer

from oreflow.agent.commands.common import (
    AsJson,
    ConfigPath,
    Executor,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    load_plugins,
    verb,
)


@verb
def train(
    config: ConfigPath,
    out: Annotated[Path, typer.Option("--out", help="Run folder to write; with --seeds the folder that holds them.")],
    set_: Overrides = None,
    seed: Seed = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            help="Train one run after the other into OUT/seed_N, such as 0-4 or 0,2,7; goes on with those that were "
            "stopped, and leaves finished ones as they are.",
        ),
    ] = None,
    executor: Executor = None,
    plugin: Plugins = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run that is in --out.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Train a sampler: rolls out, checkpoints, ends with a summary.

    Example: oreflow train runs/configs/quickstart.yaml --out runs/quickstart --set sampler.steps=500
    """
    from oreflow.agent.commands.training.one_run import report, start
    from oreflow.agent.commands.training.seeds import train_seeds
    from oreflow.agent.config.executor import executor_of
    from oreflow.agent.config.run import load_config
    from oreflow.agent.errors import ConfigError
    from oreflow.agent.runtime.signals import StopFlag

    # From here on, as an exception in the midst of compiled code may not arrive, or do harm there
    with StopFlag() as stop:
        plugins = load_plugins(plugin)
        if seeds is not None:
            if seed is not None:
                raise ConfigError(f"--seed {seed} beside --seeds {seeds}: expected one of them; leave one out")
            return train_seeds(
                config,
                out,
                seeds,
                set_ or [],
                overwrite,
                plugins=plugins,
                executor=executor_of(executor),
                stop=stop,
                quiet=quiet,
                as_json=as_json,
            )
        if executor is not None:
            raise ConfigError(
                "--executor trains several seeds at once: expected --seeds beside it; for the rewards of a "
                "run set run.executor in its config"
            )
        resolved = load_config(config, set_, seed)
        ended = start(resolved, str(config), out, overwrite=overwrite, plugins=plugins, stop=stop, quiet=quiet)
    return report(ended, quiet, as_json)


@verb
def resume(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    set_: Overrides = None,
    plugin: Plugins = None,
    auto: Annotated[bool, typer.Option("--auto", help="Take an older checkpoint where the newest is damaged.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Go on exactly where a run stopped; with --set sampler.steps=N also beyond its end.

    On one thread, and with the same versions, the result is the same to the last bit as without the stop. Rewards that
    came from plug-in files need their --plugin again.

    Example: oreflow resume runs/quickstart
    """
    from oreflow.agent.commands.training.one_run import go_on, report
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.storage.run_folder import RunFolder

    with StopFlag() as stop:
        load_plugins(plugin)
        resolved = RunFolder(run).load_config(set_)
        ended = go_on(resolved, run, fall_back=auto, stop=stop, quiet=quiet)
    return report(ended, quiet, as_json)
