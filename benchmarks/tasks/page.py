"""`runs/tasks/README.md` and the tables of each task, made from the records beside them.

    python -m benchmarks.tasks.page

A task is a folder `runs/tasks/NAME` with `README.md`, `metrics.json`, `command.txt` and `protocol.yaml` or
`config.resolved.yaml`, and the module `benchmarks.tasks.NAME`, whose function `table` makes lines of Markdown of the
record. What stands between `<!-- tasks -->` or `<!-- record -->` and `<!-- end -->` is written anew, and
`tests/whole/test_tasks.py` checks that it is up to date.

In `metrics.json`, `task` holds what the page says: `title`, `after` (the paper), and `measures`, each with `name`,
`paper` and `ours` as text.
"""

import importlib
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.records import ROOT
from oreflow.agent.storage.atomic_files import write_text

TASKS = ROOT / "runs" / "tasks"


def names() -> list[str]:
    """The tasks that have a record, by name."""
    return sorted(path.parent.name for path in TASKS.glob("*/metrics.json"))


def read_metrics(name: str) -> dict[str, Any]:
    """`metrics.json` of a task."""
    found: dict[str, Any] = json.loads((TASKS / name / "metrics.json").read_text(encoding="utf-8"))
    return found


def overview() -> list[str]:
    """One line a measure, those of a task together, its name, command and minutes in the first."""
    lines = ["| task | after | measure | the paper | oreflow | minutes | command |", f"|{' --- |' * 7}"]
    for name in names():
        metrics = read_metrics(name)
        task, command = metrics["task"], _command(name)
        for i, measure in enumerate(task["measures"]):
            first = [f"[{task['title']}]({name}/README.md)", task["after"]] if i == 0 else ["", ""]
            last = [f"{metrics['seconds'] / 60:.0f}", f"`{command}`"] if i == 0 else ["", ""]
            lines.append(f"| {' | '.join([*first, measure['name'], measure['paper'], measure['ours'], *last])} |")
    return lines


def record(name: str) -> list[str]:
    """Command, table and circumstances of one task."""
    metrics = read_metrics(name)
    machine = metrics["machine"]
    made = f"{metrics['date']}, oreflow {machine['versions']['oreflow']}, torch {machine['versions']['torch']}"
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)} of {machine['cores']} cores"
    table = importlib.import_module(f"benchmarks.tasks.{name}").table(metrics)
    closing = f"({made}, {threads}, {metrics['seconds'] / 60:.0f} minutes in all)"
    return ["```bash", _command(name), "```", "", *table, "", closing]


def filled(path: Path) -> str:
    """A README with its marked place filled."""
    text = path.read_text(encoding="utf-8")
    lines = overview() if path.parent == TASKS else record(path.parent.name)
    marker = "tasks" if path.parent == TASKS else "record"
    body = "\n".join(lines)
    return re.sub(
        rf"(<!-- {marker} -->\n).*?(<!-- end -->)", lambda found: f"{found[1]}{body}\n{found[2]}", text, flags=re.DOTALL
    )


def pages() -> list[Path]:
    """The page of all tasks, and those of the tasks."""
    return [TASKS / "README.md", *(TASKS / name / "README.md" for name in names())]


def _command(name: str) -> str:
    return (TASKS / name / "command.txt").read_text(encoding="utf-8").strip()


def main() -> None:
    """Write all pages anew."""
    for path in pages():
        write_text(path, filled(path))


if __name__ == "__main__":
    main()
