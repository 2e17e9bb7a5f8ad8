"""The command `oreflow`. Importing this file imports nothing heavy; each verb imports what it needs when it runs."""

import typer

from agent.commands import candidates, exactness, project, relaxation, structures, training

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
app.command("train")(training.train)
app.command("resume")(training.resume)
app.command("sample")(candidates.sample)
app.command("evaluate")(candidates.evaluate)
app.command("exact")(exactness.exact)
app.command("score")(candidates.score)
app.command("encode")(structures.encode)
app.command("export")(structures.export)
app.command("relax")(relaxation.relax)
app.command("fit-energy")(project.fit_energy)
app.command("list")(project.list_)
app.command("init")(project.init)
app.command("check")(training.check)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
