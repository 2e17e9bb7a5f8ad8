"""`oreflow merge`: several tables of candidates as one."""

from pathlib import Path
from typing import Annotated

import typer

from oreflow.agent.commands.common import DONE, AsJson, Overwrite, Plugins, Quiet, load_plugins, print_json, verb


@verb
def merge(
    tables: Annotated[
        list[Path],
        typer.Argument(help="Tables of candidates, or runs, whose newest ones are meant.", metavar="TABLE..."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the candidates.")],
    plugin: Plugins = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Join several tables of candidates into one: each object once, its draws added, and where each row comes from.

    Cells are those of the first table that has them; the column `sources` names table, id and number of draws.

    Example: oreflow merge runs/seeds/seed_0 runs/seeds/seed_1 --out runs/merged
    """
    from oreflow.agent.sampling.rows.merge import merge as join

    load_plugins(plugin)
    summary = join(tables, out, overwrite=overwrite, quiet=quiet)
    if as_json:
        print_json(summary)
    elif not quiet:
        print(
            f"{summary['n_candidates']} candidates from {summary['n_rows_read']} rows of {len(summary['tables'])} "
            f"tables, {summary['n_draws']} draws; ranked by {summary['ranked_by']}"
        )
        print("\n".join([*summary["notes"], f"written to {out / 'candidates.csv'}"]))
    return DONE
