"""Choose a portfolio: the best candidates' quality, and far more variety; or the best trade-offs between terms."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.selection.clusters import cluster
from oreflow.agent.selection.fronts import beaten_by, budgeted
from oreflow.agent.selection.objectives import column_of, costs_of, numbers_of, read_objectives
from oreflow.agent.selection.pettifor import element_movers_distances
from oreflow.agent.selection.portfolio import Portfolio, describe, nearest_others, with_known
from oreflow.agent.selection.spread import spread_out
from oreflow.agent.tables.candidate_rows import compositions_of, newest_table, table_in, table_rows
from oreflow.agent.tables.formulas import formulas_of, row_errors
from oreflow.agent.tables.full_table import where_columns_are
from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.errors import TableError
from oreflow.envs.objects.compositions import Compositions

MOST_ROWS = 1_000_000
CLUSTER = "cluster"
ONE_PER = ("formula", "chemsys", "prototype", CLUSTER)
SPREADS = ("terms", "composition")
_LOG_REWARD = "log_reward"
_LOG_TARGET = "log_target"  # of runs with a prior: what is likely, times R
_WITHIN = {_LOG_REWARD: 1.0, _LOG_TARGET: 1.0}  # nats
_LITTLE_CHOICE = 3  # rows a pick, below which variety is a matter of luck
_WITHIN_STD = 0.5  # of any other quality, in its standard deviations


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
    and near to many rows that no pick is near to (`spread_out`). With one pick a cluster, these rows are divided into n
    clusters (`cluster`), and the best row of each is picked.

    Args:
        by: columns of numbers, the more the better; "-" before a name for the less the better. Of several the mean of
            their values in standard deviations counts. By default log_target, which runs with a prior have: what is
            likely, times R; else log_reward.
        within: in the unit of the column, or in standard deviations of several; by default 1 nat of these two, and half
            a standard deviation of anything else.
        one_per: of ONE_PER; at most one pick of each formula (also where none is named), chemical system, prototype or
            cluster.

    Raises:
        TableError: without formulas, and for a column that is missing or holds no numbers.
    """
    frame, compositions, notes = _rows(path, formula_column)
    by = by or [_LOG_TARGET if _LOG_TARGET in frame.columns else _LOG_REWARD]
    quality = _quality(frame, by, str(path))
    rated = _rated(np.isfinite(quality), ", ".join(by), path, notes)
    order = rated[np.argsort(-quality[rated], kind="stable")]
    frame, compositions, quality = frame.iloc[order].reset_index(drop=True), compositions[order], quality[order]
    if within is None:
        within = _WITHIN.get(by[0], _WITHIN_STD * (float(quality.std()) if len(by) == 1 else 1.0))
    lowest = float(quality[:n].mean()) - within
    may = quality >= lowest
    added: dict[str, Any] = {}
    if one_per == CLUSTER:
        picks, sizes = _best_of_clusters(compositions, n, may)
        added["cluster_size"] = sizes
    else:
        picks = np.sort(spread_out(compositions, n, may, _groups(frame, compositions, one_per, str(path)))[0])
    figures = _compared(compositions, quality, picks)
    table = describe(frame, compositions, picks, {"quality": quality[picks], **added})
    if known is not None:
        table = with_known(table, compositions[picks], known)
    figures |= {"n_rows": len(frame), "n_within": int(may.sum()), "within": within, "lowest_quality": lowest, "by": by}
    if len(picks) < n:
        notes.append(f"{len(picks)} of {n}: no further row is within {within:g} of the best; raise --within")
    elif len(frame) > may.sum() < _LITTLE_CHOICE * n:
        notes.append(
            f"{may.sum()} rows are within {within:g} of the mean of the {n} best; for more variety raise --within"
        )
    return Portfolio(table, figures, tuple(notes))


def select_front(
    path: Path,
    n: int,
    terms: str,
    *,
    spread: str = "terms",
    one_per: str | None = None,
    known: Compositions | None = None,
    formula_column: str | None = None,
) -> Portfolio:
    """Pick the best trade-offs between terms: rows that no row beats, then those that only these beat, and so on.

    Of the front that is too large for what is left of n, rows far apart are picked (`fronts.budgeted`).

    Args:
        terms: "TERM:min,TERM:max,...", columns or reward terms of the table, each with its direction.
        spread: of SPREADS; whether "far apart" means in the values of the terms or in composition.
        one_per: of ONE_PER but cluster.

    Raises:
        TableError: without formulas, for terms that cannot be read, and for a column without numbers.
    """
    frame, compositions, notes = _rows(path, formula_column)
    objectives = read_objectives(terms, frame, str(path))
    costs = costs_of(frame, objectives, str(path))
    names = [one.column for one in objectives]
    rated = _rated(np.isfinite(costs).all(axis=1), " and ".join(names), path, notes)
    frame, compositions, costs = frame.iloc[rated].reset_index(drop=True), compositions[rated], costs[rated]
    group = _groups(frame, compositions, one_per, str(path))

    def apart(ones: Ints, others: Ints) -> Floats:
        return element_movers_distances(compositions[ones], compositions[others])

    picks, numbers = budgeted(costs, group, n, apart if spread == "composition" else None)
    order = np.lexsort((costs[picks][:, 0], numbers))
    picks, numbers = picks[order], numbers[order]
    added = {"front": numbers, "beats": beaten_by(costs, picks), "best_in": _best_in(costs[picks], names)}
    table = describe(frame, compositions, picks, added)
    if known is not None:
        table = with_known(table, compositions[picks], known)
    figures: dict[str, Any] = {
        "n": len(picks),
        "n_rows": len(frame),
        "terms": {o.column: o.direction for o in objectives},
    }
    figures["mean_nearest_distance"] = float(nearest_others(compositions[picks]).mean()) if len(picks) > 1 else None
    figures["picks_by_front"] = np.bincount(numbers)[1:].tolist()
    if len(picks) < n:
        notes.append(f"{len(picks)} of {n}: the table has no further {one_per or 'formula'}")
    return Portfolio(table, figures, tuple(notes))


def _rows(path: Path, formula_column: str | None) -> tuple[pd.DataFrame, Compositions, list[str]]:
    """Rows of a table with a readable formula, and notes on what was left out."""
    frame, n_rows = table_rows(path, MOST_ROWS)
    compositions, read, errors = compositions_of(formulas_of(frame, str(path), formula_column))
    notes = [f"{n_rows - len(frame)} rows beyond the first million are left out"] if n_rows > len(frame) else []
    bad = row_errors(frame, errors)
    notes += [f"{len(bad)} rows without a readable formula are left out; {bad[0]}"] if bad else []
    return frame.iloc[read].reset_index(drop=True), compositions, notes


def _rated(has_value: Bools, what: str, path: Path, notes: list[str]) -> Ints:
    """Rows with a value, int64; notes how many have none."""
    rated = np.flatnonzero(has_value)
    if not len(rated):
        raise TableError(f"{path}: expected rows with a formula and a value of {what}, found none")
    if len(rated) < len(has_value):
        notes.append(f"{len(has_value) - len(rated)} rows without a value of {what} are left out")
    return rated


def _best_of_clusters(compositions: Compositions, n: int, may: Bools) -> tuple[Ints, Ints]:
    """The best row of each of n clusters of the rows that may be picked, ascending, and how many rows each holds."""
    rows = np.flatnonzero(may)
    number, _ = cluster(compositions[rows], n)
    _, first, sizes = np.unique(number, return_index=True, return_counts=True)
    order = np.argsort(first)
    return rows[first[order]], sizes[order]


def _quality(frame: pd.DataFrame, by: list[str], source: str) -> Floats:
    """float64 [row], the more the better; of several columns the mean of their standardised values."""
    columns = []
    for name in by:
        column = column_of(frame, name.removeprefix("-"), source, "--by")
        values = numbers_of(frame, column, source, "--by")
        values = -values if name.startswith("-") else values
        if len(by) > 1:
            spread = float(np.nanstd(values))
            values = (values - np.nanmean(values)) / (spread if spread > 0 else 1.0)
        columns.append(values)
    quality: Floats = np.mean(columns, axis=0)
    return quality


def _best_in(costs: Floats, names: list[str]) -> list[str]:
    """Which terms each pick is the best of all picks in."""
    best = costs == costs.min(axis=0)
    return [", ".join(name for name, is_best in zip(names, row) if is_best) for row in best.tolist()]


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


def _compared(compositions: Compositions, quality: Floats, picks: Ints) -> dict[str, Any]:
    """Figures that compare the picks with as many best rows; rows are in order of quality."""
    best = compositions[: len(picks)]
    return {
        "n": len(picks),
        "mean_quality": float(quality[picks].mean()),
        "mean_quality_of_best": float(quality[: len(picks)].mean()),
        "mean_nearest_distance": float(nearest_others(compositions[picks]).mean()) if len(picks) > 1 else None,
        "mean_nearest_distance_of_best": float(nearest_others(best).mean()) if len(picks) > 1 else None,
    }
