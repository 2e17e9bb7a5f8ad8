"""A portfolio as lines on the terminal and as files."""

from pathlib import Path

from oreflow.agent.selection.portfolio import Portfolio
from oreflow.agent.storage.atomic_files import to_json
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import check_place, take_over
from oreflow.agent.storage.scratch import scratch_folder, writing_to
from oreflow.agent.tables.formulas import aligned, write_csv

SELECTED = (
    *("formula_selected", "quality", "cluster_size", "front", "beats", "best_in"),
    *("stands_for", "nearest_pick", "nearest_known", "distance_to_known"),
)
"""Columns that a selection adds to a table."""
_FILES = ("selected.csv", "summary.json")


def check_selection_place(out: Path, overwrite: bool) -> None:
    """Check that a selection may be written into a folder.

    Raises:
        PlaceError: when files of its names are there that are not to be replaced.
    """
    check_place(out, _FILES, overwrite)


def write_selection(found: Portfolio, source: Path, out: Path, overwrite: bool) -> None:
    """Write selected.csv, all columns of the table behind those of the selection, and summary.json.

    Raises:
        PlaceError, RunFolderError, OutputError: when the place cannot be used.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    with RunLock(out), scratch_folder(out) as scratch, writing_to(out):
        check_place(out, _FILES, overwrite)
        csv, summary = scratch / _FILES[0], scratch / _FILES[1]
        write_csv(found.table, csv)
        summary.write_text(to_json(found.figures | {"table": str(source), "notes": found.notes}), encoding="utf-8")
        take_over(out, dict(zip(_FILES, (csv, summary))))


def lines_of(found: Portfolio) -> list[str]:
    """The picks as a table, and how they compare with as many best rows."""
    figures = found.figures
    terms = list(figures.get("terms", {}))
    shown = [name for name in SELECTED if name in found.table.columns]
    shown[1:1] = terms  # the values that a front is a trade-off of
    titles = {"formula_selected": "formula", "quality": ", ".join(figures.get("by", []))}
    rows = [[_cell(value) for value in row] for row in found.table[shown].itertuples(index=False)]
    lines = [aligned([titles.get(name, name.replace("_", " ")) for name in shown], rows)]
    if terms:
        by_front = ", ".join(f"{n} of front {number}" for number, n in enumerate(figures["picks_by_front"], start=1))
        apart = figures["mean_nearest_distance"]
        distance = "" if apart is None else f"; mean distance to the nearest pick {apart:.3g}"
        return [*lines, f"{figures['n']} picks: {by_front}{distance}", *found.notes]
    if figures["mean_nearest_distance"] is not None:
        lines.append(
            f"mean distance to the nearest pick {figures['mean_nearest_distance']:.3g}; of the {figures['n']} best "
            f"rows {figures['mean_nearest_distance_of_best']:.3g}"
        )
    lines.append(
        f"mean {', '.join(figures['by'])} {figures['mean_quality']:.4g}; of the {figures['n']} best rows "
        f"{figures['mean_quality_of_best']:.4g}"
    )
    return [*lines, *found.notes]


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
