"""Objects and values as JSON data, for workers that share nothing with the one who asks but a folder."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.errors import ExecutorError
from oreflow.rewards.executors.messages import as_message, from_message


def payload_to_json(message: dict[str, Any]) -> dict[str, Any]:
    """Write objects, which `as_message` took apart, as JSON data that reads back exactly.

    Raises:
        ExecutorError: for objects of an own world.
    """
    batch = from_message(message)
    if isinstance(batch, Compositions):
        names = symbols()
        rows = zip(batch.atomic_numbers.tolist(), batch.counts.tolist())
        amounts = [{names[z]: n for z, n in zip(numbers, counts) if z} for numbers, counts in rows]
        return {"kind": batch.kind, "formulas": batch.formulas(), "amounts": amounts}
    if isinstance(batch, Crystals):
        from oreflow.envs.structure_io.crystal_text import crystal_to_text
        from oreflow.envs.structure_io.writers import cif_text

        cif = cif_text(batch) if batch.has_geometry.all() else None
        return {"kind": batch.kind, "formulas": batch.labels(), "structures": crystal_to_text(batch), "cif": cif}
    raise ExecutorError(
        f"the executor `files` writes compositions and crystals, got objects of {batch.kind!r}; use local or ray"
    )


def payload_from_json(data: dict[str, Any]) -> dict[str, Any]:
    """Read what `payload_to_json` wrote."""
    if data["kind"] == Crystals.kind:
        from oreflow.envs.structure_io.crystal_text import crystal_from_text

        return as_message(crystal_from_text(data["structures"]))
    width = max(map(len, data["amounts"]))
    numbers = np.zeros((len(data["amounts"]), width), dtype=np.int16)
    counts = np.zeros((len(data["amounts"]), width), dtype=np.int32)
    for row, amounts in enumerate(data["amounts"]):
        for slot, (z, n) in enumerate(sorted((atomic_number(symbol), n) for symbol, n in amounts.items())):
            numbers[row, slot], counts[row, slot] = z, n
    return as_message(Compositions(numbers, counts))


def value_to_json(value: dict[str, Any]) -> dict[str, Any]:
    """Write what a term's function says of one object."""
    if "raised" in value:
        return value
    said: TermValues = value["values"]
    return {
        "value": float(said.values[0]) if said.valid[0] else None,
        "columns": {
            name: column[0].item() if isinstance(column[0], np.generic) else column[0]
            for name, column in said.columns.items()
        },
        "reason": said.reasons.get(0),
        "traceback": said.tracebacks.get(0),
        "side_effects": value["side_effects"],
    }


def value_from_json(data: Any) -> dict[str, Any]:
    """Read what `value_to_json` wrote, or a number alone, as people's own scripts write it.

    Raises:
        ValueError: for something else.
    """
    if not isinstance(data, dict):
        data = {"value": data}
    if "raised" in data:
        return {"raised": str(data["raised"]), "message": str(data.get("message", ""))}
    number = data.get("value")
    if isinstance(number, bool) or not isinstance(number, int | float | None):
        raise ValueError(f"expected a number, or null with a reason, got {number!r}")
    value = np.nan if number is None else float(number)
    valid = bool(np.isfinite(value))
    columns: dict[str, NDArray[Any]] = {name: _cell(cell) for name, cell in (data.get("columns") or {}).items()}
    reason, traceback = data.get("reason"), data.get("traceback")
    values = TermValues(
        np.array([value]),
        np.array([valid]),
        columns,
        {0: str(reason or f"value {number}")} if not valid or reason else {},
        {0: str(traceback)} if traceback else {},
    )
    return {"values": values, "side_effects": [str(text) for text in data.get("side_effects") or ()]}


def _cell(cell: Any) -> NDArray[Any]:
    """A column of one row; text and lists are objects, and what is missing is not a number."""
    if cell is None:
        return np.array([np.nan])
    if isinstance(cell, bool | int | float):
        return np.array([cell])
    out = np.empty(1, dtype=object)
    out[0] = cell
    return out
