"""Runs that differ by their seed alone, and what their logs say together."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.config.strict_yaml import parse_yaml
from oreflow.agent.errors import RunFolderError
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.suggestions import nearest

# What may differ between runs of a group: names, the seed, and housekeeping that changes no result.
_NO_DIFFERENCE = ("schema_version", "purpose", "seed", "run")
_COUNTERS = ("step", "n_objects", "n_invalid", "n_skipped", "n_log_reward_bounded")


@dataclass(frozen=True)
class SeedGroup:
    """Runs of one config.

    Attributes:
        name: what differs from the other groups, or the folder.
        runs: folders, by seed.
        seeds: of these.
        series: of each measure that all runs have, the steps int64 [line] that all of them logged it at, and its values
            float64 [run, line]; NaN where a value is missing.
    """

    name: str
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    series: dict[str, tuple[Ints, Floats]]

    def final(self, measure: str) -> dict[str, Any]:
        """Sum up a measure at the last step that all runs of the group logged it at.

        Returns:
            `step`, `n_seeds`, and `mean`, `std` (of the sample; None for one seed), `min`, `max` over the seeds with a
            value; None where no seed has one.
        """
        steps, values = self.series[measure]
        last = values[:, -1][np.isfinite(values[:, -1])]
        found: dict[str, Any] = {"step": int(steps[-1]), "n_seeds": len(last)}
        if not len(last):
            return found | dict.fromkeys(("mean", "std", "min", "max"))
        std = float(last.std(ddof=1)) if len(last) > 1 else None
        return found | {"mean": float(last.mean()), "std": std, "min": float(last.min()), "max": float(last.max())}


def read_groups(paths: Sequence[str | Path], measures: Sequence[str] = ()) -> list[SeedGroup]:
    """Read the logs of runs, and put those together whose configs are equal but for seed, purpose and `run`.

    Args:
        paths: run folders, or folders of runs, such as `train --seeds` makes.
        measures: those wanted; by default all that every run has, without the counters.

    Raises:
        RunFolderError: when there is no run, a log cannot be read, two runs of a config have one seed, or the runs have
            no measure, or none of those wanted, in common.
    """
    found: dict[str, list[tuple[int, Path, dict[str, Any]]]] = {}
    for run in _runs(paths):
        config = parse_yaml(RunFolder(run).config_path.read_text(encoding="utf-8"), str(run))
        flat = dict(_flat({key: value for key, value in config.items() if key not in _NO_DIFFERENCE}))
        members = found.setdefault(json.dumps(flat, sort_keys=True), [])
        same = [path for seed, path, _ in members if seed == config["seed"]]
        if same:
            raise RunFolderError(f"{same[0]} and {run} have the same config and seed {config['seed']}; leave one out")
        members.append((int(config["seed"]), run, flat))
    logs = {run: _log(run) for members in found.values() for _, run, _ in members}
    names = _common(logs, measures)
    differences = _differences([members[0][2] for members in found.values()])
    groups = []
    for members, difference in zip(found.values(), differences):
        seeds, runs, _ = zip(*sorted(members, key=lambda member: member[0]))
        series = {name: _series([logs[run] for run in runs], name, runs) for name in names}
        groups.append(SeedGroup(difference or _folder_name(runs), runs, seeds, series))
    return groups


def _runs(paths: Sequence[str | Path]) -> list[Path]:
    runs: list[Path] = []
    for path in map(Path, paths):
        inside = [path] if RunFolder(path).config_path.is_file() else []
        inside = inside or sorted(p.parent for p in path.glob("*/config.resolved.yaml"))
        if not inside:
            raise RunFolderError(f"expected a run folder, or a folder of runs, found no config.resolved.yaml in {path}")
        runs += [run for run in inside if run not in runs]
    return runs


def _log(run: Path) -> dict[int, dict[str, Any]]:
    """The lines of a log by step."""
    path = RunFolder(run).metrics_path
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        found = {int(line["step"]): line for line in lines}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path} cannot be read ({error}); leave the run out, or train it again") from None
    if not found:
        raise RunFolderError(f"{path} has no line yet; leave the run out, or train it to its first line")
    return found


def _measures(log: dict[int, dict[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for line in log.values():
        names |= {key: None for key, value in line.items() if isinstance(value, int | float) and key not in _COUNTERS}
    return list(names)


def _common(logs: dict[Path, dict[int, dict[str, Any]]], wanted: Sequence[str]) -> list[str]:
    of_runs = {run: _measures(log) for run, log in logs.items()}
    first = next(iter(of_runs.values()))
    names = [name for name in first if all(name in of_run for of_run in of_runs.values())]
    lacking = [name for name in wanted if name not in names]
    if not names or lacking:
        listed = "; ".join(f"{run} has {', '.join(has) or 'none'}" for run, has in list(of_runs.items())[:4])
        what = f"{', '.join(lacking)} is not a measure of all runs; {nearest(lacking[0], names)}" if lacking else ""
        raise RunFolderError(
            f"{what or 'the runs have no measure in common'}: {listed}. Leave out the runs without it, or train them "
            "with run.measure_every"
        )
    return list(wanted) or names


def _series(logs: list[dict[int, dict[str, Any]]], name: str, runs: Sequence[Path]) -> tuple[Ints, Floats]:
    steps = sorted(set.intersection(*({step for step, line in log.items() if name in line} for log in logs)))
    if not steps:
        raise RunFolderError(
            f"{', '.join(map(str, runs))} have no step in common at which {name} was logged; leave one of them out, or "
            "train with equal run.log_every_steps"
        )
    values = [[log[step][name] for step in steps] for log in logs]
    numbers = [[np.nan if value is None else float(value) for value in row] for row in values]
    return np.array(steps, dtype=np.int64), np.array(numbers, dtype=np.float64)


def _flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings and lists of mappings as dotted keys."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, list) and any(isinstance(value, dict) for value in data):
        for i, value in enumerate(data):
            yield from _flat(value, f"{prefix}.{i}")
    else:
        yield prefix, data


def _differences(configs: list[dict[str, Any]]) -> list[str]:
    """Of each config the keys and values in which it is not like all others; "" for one alone, or many differences."""
    keys = sorted({key for config in configs for key in config})
    different = [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]
    if not different or len(different) > 3:
        return ["" for _ in configs]
    return [", ".join(f"{key.rpartition('.')[2]} {config.get(key)}" for key in different) for config in configs]


def _folder_name(runs: Sequence[Path]) -> str:
    """What a group is called by its place: the folder that holds all its runs, or its first run."""
    parents = {run.resolve().parent for run in runs}
    seeds_only = len(parents) == 1 and all(run.name.startswith("seed_") for run in runs)
    return next(iter(parents)).name if seeds_only else str(runs[0])
