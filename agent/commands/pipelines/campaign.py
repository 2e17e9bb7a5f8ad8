"""`campaign`: rounds of sample, screen, realise, relax and learn."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oreflow.agent.commands.common import (
    DONE,
    STOPPED_BY_SIGNAL,
    AsJson,
    Executor,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    load_plugins,
    n_cores,
    print_json,
    verb,
)

if TYPE_CHECKING:
    from oreflow.agent.config.campaign import CampaignConfig


@verb
def campaign(
    config: Annotated[Path, typer.Argument(help="YAML config of a campaign.", metavar="CONFIG.yaml")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; the same command goes on where it stopped.")],
    set_: Overrides = None,
    seed: Seed = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one a core by default.")] = None,
    executor: Executor = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Draw, screen, realise, relax a budgeted number, learn from what came out, and again: campaign.csv, summary.json.

    Each round picks what is likeliest to be stable and is not known, by a surrogate that learns from the relaxations of
    the rounds before it. The budget of relaxations holds however often the campaign is stopped and gone on with.

    Example: oreflow campaign campaign.yaml --out my_campaign --set rounds=3
    """
    from oreflow.agent.campaigns.rounds import Campaign
    from oreflow.agent.campaigns.run import check_campaign, run_campaign
    from oreflow.agent.config.campaign import load_campaign
    from oreflow.agent.config.executor import executor_of
    from oreflow.agent.storage.run_folder import RunFolder

    plugins = [str(Path(path).resolve()) for path in load_plugins(plugin)]
    resolved = load_campaign(config, set_, seed)
    check_campaign(resolved)
    run = _sampler(resolved, config, out, plugins, quiet)
    if isinstance(run, int):
        return run
    told = (lambda figures: None) if quiet or as_json else (lambda figures: print(_line(figures, resolved.rounds)))
    result = run_campaign(
        Campaign(
            resolved,
            out,
            RunFolder(run),
            workers or n_cores(),
            tuple(map(Path, plugins)),
            quiet,
            executor=executor_of(executor),
        ),
        told,
    )
    if as_json:
        print_json(result)
    elif not quiet:
        _print_summary(result, out)
    if result["interrupted"]:
        print(
            f"oreflow: interrupted in round {result['n_rounds'] + 1} of {resolved.rounds}; what was finished is kept, "
            "and the same command goes on from there",
            file=sys.stderr,
        )
    return STOPPED_BY_SIGNAL if result["interrupted"] else DONE


def _sampler(config: "CampaignConfig", source: Path, out: Path, plugins: list[str], quiet: bool) -> Path | int:
    """The run to draw from, trained here where the campaign names a config; an exit code where a signal came first."""
    from oreflow.agent.campaigns.folder import RUN_FOLDER
    from oreflow.agent.commands.training.one_run import go_on, report, start
    from oreflow.agent.config.run import load_config, validate_config
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.storage.checkpoint import list_checkpoints, read_state
    from oreflow.agent.storage.run_folder import RunFolder

    if config.run is not None and Path(config.run).is_dir():
        return Path(config.run)
    if config.run is not None:
        resolved, name = load_config(config.run), config.run
    else:
        resolved, name = validate_config(dict(config.train or {}), f"{source}: train"), f"{source}: train"
    run = out / RUN_FOLDER
    folder = RunFolder(run)
    complete = list_checkpoints(folder.checkpoints)
    if complete and read_state(folder.latest_checkpoint())["step"] >= resolved.sampler.steps:
        return run
    with StopFlag() as stop:
        if complete:
            ended = go_on(resolved, run, fall_back=True, stop=stop, quiet=quiet)
        else:
            begun = folder.config_path.exists()
            ended = start(resolved, name, run, overwrite=begun, plugins=plugins, stop=stop, quiet=quiet)
    return report(ended, True, False, "the same command") if ended.result.stopped_by else run


def _line(figures: dict[str, Any], n_rounds: int) -> str:
    """A round in one line."""
    calls, hits = figures["n_referee_calls"], figures["n_hits"]
    each = f", {hits / calls:.2f} a call" if calls else ""
    return (
        f"round {figures['round']}/{n_rounds}: {figures['n_drawn']} drawn, {figures['n_picked']} picked "
        f"({figures['n_explored']} to explore), {calls} relaxed, {figures['n_stable']} stable, {hits} hits{each}; rank "
        f"correlation with the referee: surrogate {_number(figures['rank_correlation'])}, calibrated "
        f"{_number(figures['rank_correlation_calibrated'])}; {figures['seconds'] / 60:.1f} min"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _print_summary(result: dict[str, Any], out: Path) -> None:
    print(f"{result['n_picked']} decorations in {result['n_rounds']} rounds: {out / 'campaign.csv'}")
    if result["n_rounds_before"]:
        print(f"rounds played before       {result['n_rounds_before']}")
    print(f"referee calls              {result['n_referee_calls']} of {result['budget_referee_calls']}")
    print(f"stable                     {result['n_stable']}")
    each = result["hits_per_referee_call"]
    share = "" if each is None else f" ({each:.2f} a referee call)"
    print(f"hits                       {result['n_hits']}{share}: {result['hit_rule']}")
    if result["rounds"]:
        learned = result["rounds"][-1]["learned_from"]
        if learned.get("rank_correlation_held_out") is not None:
            print(
                f"surrogate and referee      rank correlation {_number(learned['rank_correlation_before'])} as it is, "
                f"{_number(learned['rank_correlation_held_out'])} calibrated, each of {learned['n_learned']} "
                "decorations predicted from the others"
            )
    print(f"stopped by                 {result['stopped_by']}")
