"""`oreflow select`: a few candidates that are good and unlike each other."""

from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    DONE,
    AsJson,
    FormulaColumn,
    Overwrite,
    Quiet,
    Reference,
    print_json,
    read_reference,
    verb,
)


@verb
def select(
    table: Annotated[Path, typer.Argument(help="A table of candidates, or a run, whose newest ones are meant.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many picks.")],
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            help="Column that says how good a row is, - before its name for less is better; repeatable; by default "
            "log_target (of runs with a prior), else log_reward.",
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How far below the mean of the n best a pick may be: by default 1 nat of log_target or log_reward, "
            "half a standard deviation of others.",
        ),
    ] = None,
    one_per: Annotated[
        str | None,
        typer.Option("--one-per", help="At most one pick of each formula (default), chemsys, prototype or cluster."),
    ] = None,
    pareto: Annotated[
        str | None,
        typer.Option(
            help="Trade-offs between terms in place of one quality: TERM:min,TERM:max,... of columns or reward terms."
        ),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(
            help="With --pareto: of a front too large, rows far apart in their terms (default) or composition."
        ),
    ] = None,
    reference: Reference = None,
    formula_column: FormulaColumn = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for selected.csv and summary.json; printed only by default.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Pick a few candidates nearly as good as the best, and far apart in composition; say what each stands for.

    Distances are Element Mover's Distances on the modified Pettifor scale. `stands_for` counts the candidates that are
    nearer to this pick than to any other. With --pareto: rows that no row beats in all terms, then the next such front.

    Example: oreflow select runs/quickstart -n 20 --reference known.csv
    """
    from oreflow.agent.errors import ConfigError
    from oreflow.agent.selection.select import CLUSTER, ONE_PER, SPREADS, candidates_at, select_front
    from oreflow.agent.selection.select import select as pick
    from oreflow.agent.selection.write import SELECTED, check_selection_place, lines_of, write_selection
    from oreflow.envs.objects.crystals import Crystals
    from oreflow.envs.suggestions import nearest

    if one_per is not None and one_per not in ONE_PER:
        raise ConfigError(
            f"--one-per: expected one of {', '.join(ONE_PER)}, got {one_per!r}; {nearest(one_per, ONE_PER)}"
        )
    if spread is not None and (pareto is None or spread not in SPREADS):
        raise ConfigError(f"--spread: expected one of {', '.join(SPREADS)} beside --pareto, got {spread!r}")
    if pareto is not None and (by or within is not None or one_per == CLUSTER):
        given = "--by" if by else "--within" if within is not None else "--one-per cluster"
        raise ConfigError(f"expected --pareto, or {given}, got both; leave one of them out")
    if out is not None:
        check_selection_place(out, overwrite)
    known = read_reference(reference, None, quiet)
    formulas = known.formula_units() if isinstance(known, Crystals) else known
    source = candidates_at(table)
    shared: dict[str, Any] = {"one_per": one_per, "known": formulas, "formula_column": formula_column}
    if pareto is None:
        found = pick(source, n, by=by, within=within, **shared)
    else:
        found = select_front(source, n, pareto, spread=spread or SPREADS[0], **shared)
    if out is not None:
        write_selection(found, source, out, overwrite)
    if as_json:
        shown = [*SELECTED, *found.figures.get("terms", {})]
        picks = found.table[[name for name in found.table.columns if name in shown]].to_dict(orient="records")
        print_json(found.figures | {"picks": picks, "notes": list(found.notes)})
    elif not quiet:
        print("\n".join(lines_of(found)))
        if out is not None:
            print(f"written to {out / 'selected.csv'}")
    return DONE
