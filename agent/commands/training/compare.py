"""`oreflow compare`: what seeds make of a training, as a table and as bands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oreflow.agent.commands.common import DONE, AsJson, Overwrite, Quiet, may_write, print_json, verb

if TYPE_CHECKING:
    from oreflow.agent.evaluation.seed_groups import SeedGroup


@verb
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that hold runs, as train --seeds makes.")],
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", help="A name in metrics.jsonl; repeatable; all that the runs share by default."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the pictures compare.png and .svg, and compare.json.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Compare runs over their seeds: mean, standard deviation, smallest and largest value of each measure at the end.

    Runs whose configs differ by the seed alone are one group. With --out each measure is drawn over the training, the
    mean over seeds as a line and their range as a band.

    Example: oreflow compare runs/seeds --measure exact_total_variation --out runs/seeds/compared
    """
    from oreflow.agent.evaluation.seed_groups import read_groups

    groups = read_groups(runs, measure or [])
    figures = [
        {
            "group": group.name,
            "runs": [str(run) for run in group.runs],
            "seeds": list(group.seeds),
            "measures": {name: group.final(name) for name in group.series},
        }
        for group in groups
    ]
    if out is not None:
        _write(groups, figures, out, overwrite)
    if as_json:
        print_json({"groups": figures})
    elif not quiet:
        print("\n".join(_table(figures)))
        if out is not None:
            print(f"drawn: {out / 'compare.png'}, {out / 'compare.svg'}")
    return DONE


def _write(groups: "list[SeedGroup]", figures: list[dict[str, Any]], out: Path, overwrite: bool) -> None:
    """The pictures and the figures, all of them or none.

    Raises:
        PlaceError: when one of the files is there already.
        OSError: when the folder cannot be written.
    """
    from oreflow.agent.evaluation.seed_bands import draw_bands
    from oreflow.agent.storage.atomic_files import replacing, to_json

    paths = [out / f"compare.{suffix}" for suffix in ("png", "svg", "json")]
    for path in paths:
        may_write(path, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    with replacing(*paths) as (png, svg, record):
        draw_bands(groups, png, svg)
        record.write_text(to_json({"groups": figures}), encoding="utf-8")


def _table(figures: list[dict[str, Any]]) -> list[str]:
    """One block a measure, one line a group."""
    width = max(len(group["group"]) for group in figures)
    lines = []
    for name in figures[0]["measures"]:
        lines.append(name)
        columns = ("seeds", "step", "mean", "std", "min", "max")
        lines.append("  " + " " * width + "".join(f"{column:>12}" for column in columns))
        for group in figures:
            final = group["measures"][name]
            numbers = ["none" if final[key] is None else f"{final[key]:.5g}" for key in ("mean", "std", "min", "max")]
            cells = [str(final["n_seeds"]), str(final["step"]), *numbers]
            lines.append("  " + group["group"].ljust(width) + "".join(f"{cell:>12}" for cell in cells))
    return lines
