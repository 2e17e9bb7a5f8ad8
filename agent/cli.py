"""The command `oreflow`. Importing this file imports nothing heavy; each verb imports what it needs when it runs."""

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from oreflow.agent.commands.candidates import evaluate, merge, repair, report, sample, score, select
from oreflow.agent.commands.crystals import realise, relax, structures
from oreflow.agent.commands.models import fit, fit_energy, fit_prior
from oreflow.agent.commands.pipelines import campaign, design
from oreflow.agent.commands.services import rewards, worker
from oreflow.agent.commands.setup import check, init, list, warm_up
from oreflow.agent.commands.training import compare, exact, train

app = typer.Typer(
    name="oreflow",
    help=(
        "Design inorganic materials: sample compositions and crystals with probability proportional to a reward. "
        "Example: oreflow train runs/configs/quickstart.yaml --out runs/quickstart"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"oreflow {version('oreflow')}")
        raise typer.Exit


@app.callback()
def _options(
    version_: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of `oreflow` itself."""


app.command("design")(design.design)
app.command("train")(train.train)
app.command("resume")(train.resume)
app.command("sample")(sample.sample)
app.command("evaluate")(evaluate.evaluate)
app.command("exact")(exact.exact)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("select")(select.select)
app.add_typer(rewards.app, name="rewards")
app.command("merge")(merge.merge)
app.command("score")(score.score)
app.command("repair")(repair.repair)
app.command("encode")(structures.encode)
app.command("export")(structures.export)
app.command("realise")(realise.realise)
app.command("relax")(relax.relax)
app.command("campaign")(campaign.campaign)
app.command("fit")(fit.fit)
app.command("fit-energy")(fit_energy.fit_energy)
app.command("fit-prior")(fit_prior.fit_prior)
app.command("list")(list.list_)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("warm-up")(warm_up.warm_up)
app.command("worker")(worker.worker)


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):  # one that cannot show a character shows another in its place
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()


if __name__ == "__main__":
    main()
