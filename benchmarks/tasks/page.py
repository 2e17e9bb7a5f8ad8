"""`runs/tasks/README.md` and the tables of each task, made from the records beside them.

    python -m benchmarks.tasks.page

A task is a folder `runs/tasks/NAME` with `README.md`, `metrics.json`, `command.txt` and `protocol.yaml` or
`config.resolved.yaml`. Its command names a module of `benchmarks.tasks`, whose function `table` makes lines of Markdown
of the record. A task that asks for a list of the reader's own has no record until it is run: `task.yaml` says in its
place what it asks, and how many minutes to expect. What stands between `<!-- tasks -->` or `<!-- record -->` and
`<!-- end -->` is written anew, and `tests/whole/test_tasks.py` checks that it is up to date.

In `metrics.json`, `task` holds what the page says: `title`, `after` (the paper), and `measures`, each with `name`,
`paper` and `ours` as text; `task.yaml` holds the same without `ours`.
"""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from benchmarks.records import ROOT
from oreflow.agent.storage.atomic_files import write_text

TASKS = ROOT / "runs" / "tasks"
NO_RECORD = "give your list: no record ships, as the list is yours"


def names() -> list[str]:
    """All tasks, by name."""
    return sorted(path.parent.name for path in TASKS.glob("*/command.txt"))


def recorded() -> list[str]:
    """The tasks that have a record, by name."""
    return [name for name in names() if (TASKS / name / "metrics.json").is_file()]


def read_metrics(name: str) -> dict[str, Any]:
    """`metrics.json` of a task."""
    found: dict[str, Any] = json.loads((TASKS / name / "metrics.json").read_text(encoding="utf-8"))
    return found


def read_description(name: str) -> dict[str, Any]:
    """`task.yaml` of a task without a record."""
    found: dict[str, Any] = yaml.safe_load((TASKS / name / "task.yaml").read_text(encoding="utf-8"))
    return found


def overview() -> list[str]:
    """One line a measure, those of a task together, its name, command and minutes in the first."""
    lines = ["| task | after | measure | the paper | oreflow | minutes | command |", f"|{' --- |' * 7}"]
    for name in names():
        if name in recorded():
            metrics = read_metrics(name)
            task, minutes = metrics["task"], f"{metrics['seconds'] / 60:.0f}"
        else:
            task = read_description(name)
            minutes = f"{task['minutes']} (expected)"
        for i, measure in enumerate(task["measures"]):
            first = [f"[{task['title']}]({name}/README.md)", task["after"]] if i == 0 else ["", ""]
            last = [minutes, f"`{_command(name)}`"] if i == 0 else ["", ""]
            ours = measure.get("ours", NO_RECORD if i == 0 else "")
            lines.append(f"| {' | '.join([*first, measure['name'], measure['paper'], ours, *last])} |")
    return lines


def record(name: str) -> list[str]:
    """Command, table and circumstances of one task; of one without a record what to expect."""
    if name not in recorded():
        minutes = read_description(name)["minutes"]
        expected = f"Expect {minutes} minute{'s' * (minutes > 1)} on one thread; {NO_RECORD}."
        return ["```bash", _command(name), "```", "", expected]
    metrics = read_metrics(name)
    machine = metrics["machine"]
    made = f"{metrics['date']}, oreflow {machine['versions']['oreflow']}, torch {machine['versions']['torch']}"
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)} of {machine['cores']} cores"
    table = importlib.import_module(module(name)).table(metrics)
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


def module(name: str) -> str:
    """The module that a task's command runs, the third of its words."""
    return _command(name).split()[2]


def _command(name: str) -> str:
    return (TASKS / name / "command.txt").read_text(encoding="utf-8").strip()


def main() -> None:
    """Write all pages anew."""
    for path in pages():
        write_text(path, filled(path))


if __name__ == "__main__":
    main()
