"""What went wrong in rewards, for whoever mends them: one line a fault, with the first formula that showed it."""

import re
from pathlib import Path
from typing import Any

from oreflow.agent.storage.atomic_files import to_json
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_to_text
from oreflow.rewards import RewardValues
from oreflow.rewards.contract.batches import labels_of
from oreflow.rewards.contract.protocol import Batch

_MAX_SAVED = 1000  # a term that fails differently on everything must not fill the disk
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


class RewardFailures:
    """Appends to a file of JSON lines: `reward`, `formula`, `reason`, `traceback`, and of a crystal `structure`.

    Exceptions are the same fault when their tracebacks are, message and numbers apart. A formula that costs a worker
    process is a fault of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_saved = 0
        self._seen: set[tuple[str, str]] = set()

    def record(self, objects: Batch, result: RewardValues) -> None:
        """Saves the faults of a batch that were not seen before."""
        for name, term in result.terms.items():
            for row, text in term.tracebacks.items():
                formula = labels_of(objects[row : row + 1])[0]
                reason = term.reasons.get(row, "")
                key = (name, formula if reason.endswith("set aside") else _place(text))
                if key not in self._seen and self.n_saved < _MAX_SAVED:
                    self._seen.add(key)
                    entry = {"reward": name, "formula": formula, "reason": reason, "traceback": text}
                    if isinstance(objects, Crystals):  # as `oreflow score --in` and `export` read it
                        entry["structure"] = crystal_to_text(objects[row : row + 1])[0]
                    self._append(entry)

    def _append(self, entry: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(to_json(entry, indent=None) + "\n")
        self.n_saved += 1


def _place(traceback: str) -> str:
    """Files, lines and the type of the exception, without its message."""
    lines = [line for line in traceback.splitlines() if line.startswith("  File ")]
    kind = traceback.rstrip().splitlines()[-1].partition(":")[0] if traceback.strip() else ""
    return "\n".join([*(line.strip() for line in lines), _NUMBERS.sub("", kind)])
