"""Reading tables; one for people, `candidates.csv`, is filled up with the columns of the full table beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oreflow.rewards.reference.tables import read_table as read_as_it_is

if TYPE_CHECKING:
    import pandas as pd

FULL_TABLE = "candidates.parquet"
_ID, _LOG_REWARD, _FULL_ONLY = "candidate_id", "log_reward", "is_unique"
_SAME_TEXT = ("formula", "object", "space_group_symbol", "wyckoff_label")
_ROUNDED = 0.051  # nats: log R has one decimal at least
_HINT = "lacks"  # in `attrs`: where the columns are that a table for people does not have


def read_table(path: str | Path) -> "pd.DataFrame":
    """Read a table, as `rewards.reference.tables.read_table` does; of a table for people all columns.

    `oreflow sample` writes few columns to candidates.csv, and all of them to candidates.parquet. A CSV with the ids and
    log R of the former, all rows of it or some, in any order, and with columns of the user's own, gets the columns
    that it lacks from the Parquet file of the same name, or else from candidates.parquet in the same folder. There the
    ids must stand for the same objects with the same log R. Rows and their order are those of the CSV; the numbers of
    both are those of the Parquet file, which has all digits.

    Raises:
        TableError: as there. A CSV without its Parquet file is read as it is; `where_columns_are` then says what is
            missing.
    """
    path = Path(path)
    frame = read_as_it_is(path)
    if not _is_for_people(path, frame):
        return frame
    hint = f"{path} is a table for people, with few columns; {FULL_TABLE}, which is written beside it, has all: name it"
    for full_path in dict.fromkeys((path.with_suffix(".parquet"), path.with_name(FULL_TABLE))):
        if not full_path.is_file():
            continue
        full = read_as_it_is(full_path)
        difference = _difference(frame, full)
        if not difference:
            return _filled(frame, full)
        hint = (
            f"{path} is a table for people, with few columns, and {full_path} is of other candidates ({difference}); "
            "name the Parquet file that was written with it"
        )
    frame.attrs[_HINT] = hint
    return frame


def where_columns_are(frame: "pd.DataFrame") -> str:
    """Say where the columns of a table are that it lacks, to be put behind an error; "" where nobody knows."""
    hint = frame.attrs.get(_HINT)
    return f"; {hint}" if hint else ""


def _is_for_people(path: Path, frame: "pd.DataFrame") -> bool:
    columns = set(frame.columns)
    return path.suffix.lower() == ".csv" and {_ID, _LOG_REWARD} <= columns and _FULL_ONLY not in columns


def _difference(frame: "pd.DataFrame", full: "pd.DataFrame") -> str:
    """How rows of a table for people differ from those that have their ids in the full one; "" where they do not."""
    import pandas as pd

    if not {_ID, _LOG_REWARD, _FULL_ONLY} <= set(full.columns):
        return "it has no ids, or no log R"
    if frame[_ID].duplicated().any():
        return f"{frame[_ID][frame[_ID].duplicated()].iloc[0]} occurs twice in the CSV"
    place = pd.Index(full[_ID]).get_indexer(frame[_ID])
    if (place < 0).any():
        return f"it has no {frame[_ID].iloc[int(np.argmin(place))]}"
    there = full.iloc[place]
    for name in _SAME_TEXT:
        if name not in frame.columns or name not in there.columns:
            continue
        for row, (ours, theirs) in enumerate(zip(frame[name].astype(str), there[name].fillna("").astype(str))):
            if ours.removeprefix("'") != theirs.removeprefix("'"):
                return f"{frame[_ID].iloc[row]} is {theirs} there, and {ours} here"
    ours = pd.to_numeric(frame[_LOG_REWARD], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    theirs = there[_LOG_REWARD].to_numpy(dtype=np.float64, na_value=np.nan)
    far = np.abs(ours - theirs) > _ROUNDED  # what is no number here differs from nothing
    if far.any():
        row = int(np.argmax(far))
        return f"{frame[_ID].iloc[row]} has log R {theirs[row]:.2f} there, and {ours[row]:.2f} here"
    return ""


def _filled(frame: "pd.DataFrame", full: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    there = full.set_index(_ID, drop=False).loc[frame[_ID]]
    there.index = frame.index  # which errors name the rows by
    own = [name for name in frame.columns if name not in there.columns]
    return pd.concat([there, frame[own]], axis=1)
