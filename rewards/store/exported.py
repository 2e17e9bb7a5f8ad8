"""A stored value as one flat row, as tables of values have it; and a file of rows that a store could not take."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oreflow.envs.atomic_files import replacing
from oreflow.envs.registry import COMPOSITION, STRUCTURE
from oreflow.rewards.store.entry import Entry
from oreflow.rewards.store.identity import TermIdentity

OF_A_TERM = ("reward", "version", "parameters", "unit", "requires")
"""Columns that say which term a value is of."""
OF_A_VALUE = ("value", "valid", "reason", "failed", "seconds", "cost", "made_at", "made_by", "columns")
"""Columns of the value itself."""


def exported_row(identity: TermIdentity, unit: str, requires: str, key: str, entry: Entry) -> dict[str, Any]:
    """Give the cells of one value, by column."""
    cells = entry.as_row()
    return {
        **dict(zip(OF_A_TERM, (identity.name, identity.version, identity.parameters, unit, requires))),
        "formula": entry.text if requires == COMPOSITION else None,
        "object": cells["label"],
        **{name: cells[name] for name in OF_A_VALUE},
        "structure": entry.text if requires == STRUCTURE else None,
        "key": key,
    }


def write_aside(
    store: str, identity: TermIdentity, unit: str, requires: str, entries: Mapping[str, Entry], by: str
) -> Path | None:
    """Write values that a store could not take into a file that `oreflow rewards import` reads, and say so.

    Args:
        store: its name, for the message.
        by: id of the process, for the name of the file.

    Returns:
        The file: in the working folder, or else in that of temporary files; None where neither can be written.
    """
    rows = [exported_row(identity, unit, requires, key, entry) for key, entry in entries.items()]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        path = folder / f"rewards_not_stored_{identity.name}_{by[:8]}.jsonl"
        with contextlib.suppress(OSError):
            with replacing(path) as (temporary,):
                temporary.write_text(text, encoding="utf-8")
            print(
                f"oreflow: {len(rows)} values of {identity.name} could not be written to the reward store {store}; "
                f"they are in {path}. Then run `oreflow rewards import {store} {path}`",
                file=sys.stderr,
            )
            return path
    print(f"oreflow: {len(rows)} values of {identity.name} could not be written anywhere and are lost", file=sys.stderr)
    return None
