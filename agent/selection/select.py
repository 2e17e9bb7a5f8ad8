"""Choose a portfolio: the best candidates' quality, and far more variety."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.selection.pettifor import element_movers_distances
from oreflow.agent.selection.spread import spread_out
from oreflow.agent.tables.candidate_rows import compositions_of, newest_table, table_in, table_rows
from oreflow.agent.tables.formulas import formulas_of, row_errors
from oreflow.agent.tables.full_table import where_columns_are
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.errors import TableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import formula_columns
from oreflow.envs.suggestions import nearest as nearest_name

MOST_ROWS = 1_000_000
ONE_PER = ("formula", "chemsys", "prototype")
_LOG_REWARD = "log_reward"
_LOG_TARGET = "log_target"  # of runs with a prior: what is likely, times R
_WITHIN = {_LOG_REWARD: 1.0, _LOG_TARGET: 1.0}  # nats
_LITTLE_CHOICE = 3  # rows a pick, below which variety is a matter of luck
_WITHIN_STD = 0.5  # of any other quality, in its standard deviations


@dataclass(frozen=True)
class Portfolio:
    """What was picked.

    Attributes:
        table: the picked rows, best first, with `stands_for`, `nearest_pick` and, with known compounds,
            `nearest_known` and `distance_to_known`.
        figures: quality and nearest distances of the picks and of as many best rows.
        notes: rows that were left out.
    """

    table: pd.DataFrame
    figures: dict[str, Any]
    notes: tuple[str, ...]


def candidates_at(path: Path) -> Path:
    """Find the table that a path means: itself, or the newest candidates of a run or a folder.

    Raises:
        RunFolderError: when there are none.
    """
    if not path.is_dir():
        return path
    return table_in(path) or newest_table(path)


def select(
    path: Path,
    n: int,
    *,
    by: list[str] | None = None,
    within: float | None = None,
    one_per: str | None = None,
    known: Compositions | None = None,
    formula_column: str | None = None,
) -> Portfolio:
    """Pick rows of a table that are nearly as good as its best, and lie far apart in composition.

    Rows may be picked whose quality is at most `within` below the mean of the n best ones, so that the mean of the
    picks is no further below it. Among them the best is the first pick, each next one far from all before
    and near to many rows that no pick is near to (`spread_out`).

    Args:
        by: columns of numbers, the more the better; "-" before a name for the less the better. Of several the mean of
            their values in standard deviations counts. By default log_target, which runs with a prior have: what is
            likely, times R; else log_reward.
        within: in the unit of the column, or in standard deviations of several; by default 1 nat of these two, and half
            a standard deviation of anything else.
        one_per: of ONE_PER; at most one pick of each formula (also where none is named), chemical system or prototype.

    Raises:
        TableError: without formulas, and for a column that is missing or holds no numbers.
    """
    frame, n_rows = table_rows(path, MOST_ROWS)
    compositions, read, errors = compositions_of(formulas_of(frame, str(path), formula_column))
    notes = [f"{n_rows - len(frame)} rows beyond the first million are left out"] if n_rows > len(frame) else []
    bad = row_errors(frame, errors)
    notes += [f"{len(bad)} rows without a readable formula are left out; {bad[0]}"] if bad else []
    frame = frame.iloc[read].reset_index(drop=True)
    by = by or [_LOG_TARGET if _LOG_TARGET in frame.columns else _LOG_REWARD]
    quality = _quality(frame, by, str(path))
    rated = np.flatnonzero(np.isfinite(quality))
    if len(rated) < len(frame):
        notes.append(f"{len(frame) - len(rated)} rows without a value of {', '.join(by)} are left out")
    if not len(rated):
        raise TableError(f"{path}: expected rows with a formula and a value of {', '.join(by)}, found none")
    order = rated[np.argsort(-quality[rated], kind="stable")]
    frame, compositions, quality = frame.iloc[order].reset_index(drop=True), compositions[order], quality[order]
    if within is None:
        within = _WITHIN.get(by[0], _WITHIN_STD * (float(quality.std()) if len(by) == 1 else 1.0))
    lowest = float(quality[:n].mean()) - within
    may = quality >= lowest
    group = _groups(frame, compositions, one_per, str(path))
    picks, owner, _ = spread_out(compositions, n, may, group)
    table, figures = _described(frame, compositions, quality, picks, owner, by)
    if known is not None:
        table = _with_known(table, compositions[np.sort(picks)], known)
    figures |= {"n_rows": len(frame), "n_within": int(may.sum()), "within": within, "lowest_quality": lowest, "by": by}
    if len(picks) < n:
        notes.append(f"{len(picks)} of {n}: no further row is within {within:g} of the best; raise --within")
    elif len(frame) > may.sum() < _LITTLE_CHOICE * n:
        notes.append(
            f"{may.sum()} rows are within {within:g} of the mean of the {n} best; for more variety raise --within"
        )
    return Portfolio(table, figures, tuple(notes))


def _quality(frame: pd.DataFrame, by: list[str], source: str) -> Floats:
    """float64 [row], the more the better; of several columns the mean of their standardised values."""
    columns = []
    for name in by:
        column = name.removeprefix("-")
        if column not in frame.columns:
            hint = nearest_name(column, [str(present) for present in frame.columns])
            where = where_columns_are(frame) or "; choose another --by"
            raise TableError(f"{source}: expected a column {column!r}; {hint}{where}")
        values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(values).any():
            raise TableError(f"{source}: expected numbers in the column {column!r}, found none; choose another --by")
        values = np.where(np.isfinite(values), values, np.nan)
        values = -values if name.startswith("-") else values
        if len(by) > 1:
            spread = float(np.nanstd(values))
            values = (values - np.nanmean(values)) / (spread if spread > 0 else 1.0)
        columns.append(values)
    quality: Floats = np.mean(columns, axis=0)
    return quality


def _groups(frame: pd.DataFrame, compositions: Compositions, one_per: str | None, source: str) -> Ints:
    """int64 [row], which rows exclude each other."""
    keys: list[Any]
    if one_per == "chemsys":
        keys = [tuple(row) for row in compositions.atomic_numbers.tolist()]
    elif one_per == "prototype":
        if "protostructure" not in frame.columns:
            raise TableError(
                f"{source}: expected a column 'protostructure', as tables of crystals have; leave --one-per out"
                + where_columns_are(frame)
            )
        keys = [text.partition(":")[0] for text in frame["protostructure"].astype(str).tolist()]
    else:
        keys = compositions.reduced().key_bytes()
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _described(
    frame: pd.DataFrame, compositions: Compositions, quality: Floats, picks: Ints, owner: Ints, by: list[str]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The picks in order of quality, and the figures that compare them with as many best rows."""
    stands_for = np.bincount(owner, minlength=len(picks))
    order = np.argsort(picks)
    rows = picks[order]
    between = _nearest_others(compositions[rows])
    table = frame.iloc[rows].reset_index(drop=True)
    table.insert(0, "formula_selected", formula_columns(compositions[rows])["formula_pretty"])
    table.insert(1, "quality", quality[rows])
    table.insert(2, "stands_for", stands_for[order])
    table.insert(3, "nearest_pick", between)
    best = compositions[: len(picks)]
    figures = {
        "n": len(picks),
        "mean_quality": float(quality[rows].mean()),
        "mean_quality_of_best": float(quality[: len(picks)].mean()),
        "mean_nearest_distance": float(between.mean()) if len(rows) > 1 else None,
        "mean_nearest_distance_of_best": float(_nearest_others(best).mean()) if len(rows) > 1 else None,
    }
    return table, figures


def _nearest_others(compositions: Compositions) -> Floats:
    """Distance of each composition to the nearest other one, float64 [row]; 0 for one alone."""
    distances = element_movers_distances(compositions, compositions)
    if len(distances) < 2:
        return np.zeros(len(distances))
    np.fill_diagonal(distances, np.inf)
    nearest: Floats = distances.min(axis=1)
    return nearest


def _with_known(table: pd.DataFrame, picks: Compositions, known: Compositions) -> pd.DataFrame:
    """The nearest known compound of each pick, and how far it is."""
    distances = element_movers_distances(picks, known)
    rows = distances.argmin(axis=1)
    table.insert(4, "nearest_known", formula_columns(known[rows])["formula_pretty"])
    table.insert(5, "distance_to_known", distances.min(axis=1))
    return table
