"""`oreflow design`: from a config to candidates and a report of them, in one command."""

import shlex
import sys
from importlib.resources import as_file
from pathlib import Path
from typing import Annotated

import typer

from oreflow.agent.commands.common import DONE, AsJson, Overrides, Plugins, Quiet, Seed, load_plugins, print_json, verb


@verb
def design(
    config: Annotated[
        str, typer.Argument(help="Name of a config that ships, or a YAML file.", metavar="CONFIG")
    ] = "quickstart",
    out: Annotated[Path | None, typer.Option("--out", help="Run folder to write; oreflow_CONFIG by default.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many candidates.")] = 1000,
    set_: Overrides = None,
    seed: Seed = None,
    plugin: Plugins = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run that is in --out.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Train, sample distinct candidates and make a report of them: `train`, `sample --unique` and `report` in a row.

    Without a config it is the quickstart, from wherever it is called. Stopped, the run goes on with `oreflow resume`.

    Example: oreflow design
    Example: oreflow design solid_electrolytes -n 500 --out electrolytes
    """
    from oreflow.agent.commands.candidates.sample import print_summary
    from oreflow.agent.commands.training.one_run import report as report_training
    from oreflow.agent.commands.training.one_run import start
    from oreflow.agent.config.run import load_config
    from oreflow.agent.config.shipped import shipped_config
    from oreflow.agent.reporting.report import make_report
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.sampling.sample import sample
    from oreflow.agent.storage.run_folder import RunFolder

    with StopFlag() as stop:
        plugins = load_plugins(plugin)
        if Path(config).suffix in (".yaml", ".yml"):
            resolved, name = load_config(Path(config), set_, seed), Path(config).stem
        else:
            with as_file(shipped_config(config)) as path:
                resolved, name = load_config(path, set_, seed), config
        out = out or Path(f"oreflow_{name}")
        ended = start(resolved, config, out, overwrite=overwrite, plugins=plugins, stop=stop, quiet=quiet)
    then = _then(out, n) if ended.result.stopped_by else "next: candidates, and a report of them"
    stopped = report_training(ended, quiet or as_json, False, then)
    if stopped != DONE:
        if as_json:
            print_json({"run": str(out), "stopped_by": ended.result.stopped_by})
        return stopped
    folder = RunFolder(out)
    samples = folder.free_samples(overwrite)
    summary = sample(folder, n, out=samples, unique=True, overwrite=overwrite, quiet=quiet)
    made = make_report([out], out=out / "report", overwrite=overwrite, quiet=quiet or as_json)
    if as_json:
        print_json({"run": str(out), "samples": str(samples), "summary": summary, "report": made})
    elif not quiet:
        print_summary(summary, samples)
        print(f"{'open in a browser':26s} {made['page']}")
    if not summary["complete"]:
        print(f"oreflow: {summary['n_rows']} of {n} candidates; `oreflow sample {out}` says why", file=sys.stderr)
    return DONE


def _then(out: Path, n: int) -> str:
    """What to type where the training was stopped."""
    run = shlex.quote(str(out))
    return f"oreflow resume {run}, then oreflow sample {run} -n {n} --unique and oreflow report {run}"
