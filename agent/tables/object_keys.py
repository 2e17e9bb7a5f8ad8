"""What tells the objects of a table of candidates apart."""

import pandas as pd

from oreflow.agent.tables.candidate_rows import compositions_of
from oreflow.agent.tables.formulas import formulas_of
from oreflow.agent.tables.structures import crystals_of
from oreflow.envs.errors import TableError
from oreflow.envs.objects.labels import protostructure_labels

COMPOSITION, DECORATION, STRUCTURE, OTHER = "composition", "decoration", "structure", "object"


def keys_of_rows(frame: pd.DataFrame, source: str) -> tuple[list[str], str]:
    """Give a key for each row, equal for equal objects, and what kind of object the table holds.

    A composition is its reduced formula, whatever the order in which it is written; a decoration its protostructure,
    which is the same for all choices of origin and axes; a crystal with a geometry its space group, lattice and sites,
    in any order; an object of another world what describes it.

    Args:
        source: what errors call the table.

    Returns:
        keys: one a row.
        kind: COMPOSITION, DECORATION, STRUCTURE or OTHER.

    Raises:
        TableError: for a row that holds no such object, and for crystals of which only some have a geometry.
    """
    if "structure" in frame.columns:
        return _of_crystals(frame, source)
    if "object" in frame.columns and "formula_reduced" not in frame.columns:
        return frame["object"].astype(str).tolist(), OTHER
    compositions, rows, errors = compositions_of(formulas_of(frame, source, None))
    if len(rows) < len(frame):
        row = next(row for row, error in enumerate(errors) if error)
        raise TableError(f"{source}: row {row + 2}: {errors[row]}; mend it, or take the row out")
    return [key.hex() for key in compositions.key_bytes()], COMPOSITION


def _of_crystals(frame: pd.DataFrame, source: str) -> tuple[list[str], str]:
    if not len(frame):
        return [], STRUCTURE
    crystals, rows, bad = crystals_of(frame, source, decorations=True)
    if bad or len(rows) < len(frame):
        raise TableError(bad[0] if bad else f"{source}: expected a crystal in each row of the column 'structure'")
    if crystals.has_geometry.all():
        return [key.hex() for key in crystals.key_bytes()], STRUCTURE
    if crystals.has_geometry.any():
        raise TableError(f"{source}: expected lattice and coordinates in all rows or in none, got them in some")
    return protostructure_labels(crystals), DECORATION
