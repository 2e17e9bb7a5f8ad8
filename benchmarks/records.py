"""Published records: what a benchmark writes so that no figure is copied by hand.

A record is a folder with `metrics.json` (figures, and the versions, cores, threads and date they were made with),
`command.txt` (what makes it again), and `config.resolved.yaml`, from which each run of `metrics.json` differs by its
`changes`; or, where no config alone says what was run, `protocol.yaml`.
"""

import importlib
import json
import os
import platform
import shlex
import time
import tomllib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from oreflow.agent.config.run import Config, dump_config
from oreflow.agent.storage.atomic_files import to_json, write_text

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "numpy", "numba")


def machine(threads: int) -> dict[str, Any]:
    """What figures were made with; without the date, equal figures and similar times are expected of equal ones."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return {
        "python": platform.python_version(),
        "versions": {"oreflow": own} | {p: version(p) for p in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": threads,
    }


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def command_line(module: str, *arguments: object) -> str:
    """The command that a reader types in the root of the repository."""
    return shlex.join(["python", "-m", module, *map(str, arguments)])


def write_record(record: Path, command: str, metrics: dict[str, Any], protocol: Config | dict[str, Any]) -> None:
    """Writes the three files.

    Args:
        record: path of `metrics.json`; the others lie beside it.
    """
    folder = record.parent
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(protocol, Config):
        write_text(folder / "config.resolved.yaml", dump_config(protocol))
    else:
        write_text(folder / "protocol.yaml", yaml.safe_dump(protocol, sort_keys=False, allow_unicode=True))
    write_text(record, to_json(metrics) + "\n")
    write_text(folder / "command.txt", command + "\n")


def write_timings(
    record: Path, module: str, arguments: list[Any], runs: dict[str, Any], threads: int, started: float
) -> None:
    """The record of a benchmark of speed.

    Args:
        module: of `benchmarks`; its docstring is the protocol.
        arguments: of its command, without `--json`.
        started: what `time.perf_counter` said at the start.
    """
    name = f"benchmarks.{module}"
    record = record.resolve()
    where = record.relative_to(ROOT) if record.is_relative_to(ROOT) else record
    seconds = time.perf_counter() - started
    metrics = {"date": today(), "machine": machine(threads), "seconds": seconds, "runs": runs}
    protocol = {"protocol": (importlib.import_module(name).__doc__ or "").strip()}
    write_record(record, command_line(name, *arguments, "--json", where), metrics, protocol)


def earlier_runs(record: Path | None, header: dict[str, Any]) -> dict[str, Any]:
    """The runs that a record holds already, so that a long benchmark goes on where it stopped; none without a record.

    Args:
        header: entries of `metrics.json` that decide whether its runs may stand beside new ones.
    """
    if record is None or not record.exists():
        return {}
    found = json.loads(record.read_text(encoding="utf-8"))
    differing = [name for name, value in json.loads(to_json(header)).items() if found.get(name) != value]
    if differing:
        raise SystemExit(f"{record} was made with another {', '.join(differing)}; remove it, or choose another place")
    runs: dict[str, Any] = found["runs"]
    return runs
