"""What was picked of a table, and what each pick stands for."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.selection.pettifor import element_movers_distances, nearest_of
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import written_formulas

_KNOWN = ("nearest_known", "distance_to_known")


@dataclass(frozen=True)
class Portfolio:
    """What was picked.

    Attributes:
        table: the picked rows, best first, with the columns of `SELECTED` that say what each stands for.
        figures: nearest distances and, by quality, its means, of the picks and of as many best rows.
        notes: rows that were left out.
    """

    table: pd.DataFrame
    figures: dict[str, Any]
    notes: tuple[str, ...]


def describe(frame: pd.DataFrame, compositions: Compositions, picks: Ints, added: dict[str, Any]) -> pd.DataFrame:
    """Make the table of picks: formula, what was `added`, how many rows each stands for, and how far the next pick is.

    A pick stands for the rows that are nearer to it than to any other pick, the first of several.

    Args:
        frame, compositions: all rows, in the same order.
        picks: int64 [pick], rows in the order of the table that is made.
        added: further columns, [pick] each, by name.
    """
    rows = compositions[picks]
    owner, _ = nearest_of(compositions, rows)
    columns = {"formula_selected": written_formulas(rows), **added}
    columns |= {"stands_for": np.bincount(owner, minlength=len(picks)), "nearest_pick": nearest_others(rows)}
    # A table that was selected from before has columns of these names.
    table = frame.drop(columns=[*columns, *_KNOWN], errors="ignore").iloc[picks].reset_index(drop=True)
    for place, (name, values) in enumerate(columns.items()):
        table.insert(place, name, values)
    return table


def nearest_others(compositions: Compositions) -> Floats:
    """Compute the distance of each composition to the nearest other one, float64 [row]; 0 for one alone."""
    distances = element_movers_distances(compositions, compositions)
    if len(distances) < 2:
        return np.zeros(len(distances))
    np.fill_diagonal(distances, np.inf)
    nearest: Floats = distances.min(axis=1)
    return nearest


def with_known(table: pd.DataFrame, picks: Compositions, known: Compositions) -> pd.DataFrame:
    """Add the nearest known compound of each pick, and how far it is, behind `nearest_pick`; return the table."""
    rows, distances = nearest_of(picks, known)
    place = list(table.columns).index("nearest_pick") + 1
    table.insert(place, _KNOWN[0], written_formulas(known[rows]))
    table.insert(place + 1, _KNOWN[1], distances)
    return table
