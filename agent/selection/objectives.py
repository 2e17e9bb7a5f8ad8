"""Terms of a Pareto front: which column each means, and whether less or more of it is better."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from oreflow.agent.tables.full_table import where_columns_are
from oreflow.envs.arrays import Floats
from oreflow.envs.errors import TableError
from oreflow.envs.suggestions import nearest

DIRECTIONS = ("min", "max")


@dataclass(frozen=True)
class Objective:
    """One term of a front.

    Attributes:
        column: of the table.
        direction: "min" where less is better, "max" where more is.
    """

    column: str
    direction: str


def read_objectives(text: str, frame: pd.DataFrame, source: str) -> list[Objective]:
    """Read "TERM:min,TERM:max,..." for a table.

    A term is the name of a column, or of a reward term whose values the table holds.

    Raises:
        TableError: for a term without a direction, an unknown one, one that stands there twice, and for one term alone.
    """
    found: list[Objective] = []
    for part in text.split(","):
        name, colon, direction = (word.strip() for word in part.partition(":"))
        if direction not in DIRECTIONS or not name:
            got = f"{direction!r}" if colon and direction else "no direction"
            raise TableError(
                f"--pareto: expected TERM:min or TERM:max, parted by commas, got {part.strip()!r} with {got}; "
                f"for example {name or 'formation_energy'}:min"
            )
        found.append(Objective(column_of(frame, name, source, "--pareto"), direction))
    twice = [one.column for one in found if sum(other.column == one.column for other in found) > 1]
    if twice:
        raise TableError(f"--pareto: expected each column once, got {twice[0]!r} twice; take one of them out")
    if len(found) < 2:
        raise TableError(f"--pareto: expected at least two terms, got {text!r} alone; add one, or use --by")
    return found


def column_of(frame: pd.DataFrame, name: str, source: str, option: str) -> str:
    """Find the column that a name means: itself, or the values of the reward term of that name.

    Raises:
        TableError: when there is none, naming the nearest one.
    """
    columns = [str(present) for present in frame.columns]
    if name in columns:
        return name
    place = columns.index(f"{name}_valid") - 1 if f"{name}_valid" in columns else -1
    if place >= 0 and columns[place].startswith(name):
        return columns[place]
    where = where_columns_are(frame) or f"; choose another {option}"
    raise TableError(f"{source}: expected a column {name!r}; {nearest(name, columns)}{where}")


def numbers_of(frame: pd.DataFrame, column: str, source: str, option: str) -> Floats:
    """Read a column as numbers, float64 [row], NaN where there is none.

    Raises:
        TableError: when it holds no number at all.
    """
    values = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(values).any():
        raise TableError(f"{source}: expected numbers in the column {column!r}, found none; choose another {option}")
    return np.where(np.isfinite(values), values, np.nan)


def costs_of(frame: pd.DataFrame, objectives: list[Objective], source: str) -> Floats:
    """Read the terms of all rows, float64 [row, term], the less the better; NaN where a value is missing.

    Raises:
        TableError: for a column without numbers.
    """
    columns = [
        numbers_of(frame, one.column, source, "--pareto") * (1.0 if one.direction == "min" else -1.0)
        for one in objectives
    ]
    return np.stack(columns, axis=1)
