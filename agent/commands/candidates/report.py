"""`oreflow report`: one page of what was asked and what came."""

from pathlib import Path
from typing import Annotated

import typer

from oreflow.agent.commands.common import (
    DONE,
    AsJson,
    FormulaColumn,
    Overwrite,
    Plugins,
    Quiet,
    Reference,
    load_plugins,
    print_json,
    verb,
)


@verb
def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Runs, folders of runs as train --seeds makes, tables of candidates.", metavar="RUN_OR_TABLE..."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; RUN/report by default, report/ beside a table.")
    ] = None,
    reference: Reference = None,
    formula_column: FormulaColumn = None,
    figures: Annotated[bool, typer.Option("--figures", help="Write the figures as PNG and SVG, too.")] = False,
    plugin: Plugins = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Make one HTML page of runs or tables: what was asked, what came, in numbers and pictures; it opens offline.

    Of a run the newest candidates are shown. A --reference with formation energies gives hull diagrams, any other one
    the known compounds in distributions and on the map.

    Example: oreflow report runs/quickstart
    Example: oreflow report candidates.csv --out my_report --figures
    """
    from oreflow.agent.reporting.report import make_report, report_place

    load_plugins(plugin)
    made = make_report(
        sources,
        out=out or report_place(sources),
        reference=reference,
        formula_column=formula_column,
        static=figures,
        overwrite=overwrite,
        quiet=quiet or as_json,
    )
    if as_json:
        print_json(made)
    elif not quiet:
        for label, said in made["verdicts"].items():
            print(f"{label}: {said}")
        print(f"{len(made['figures'])} figures, {made['bytes'] / 1e6:.1f} MB: {made['page']}")
    return DONE
