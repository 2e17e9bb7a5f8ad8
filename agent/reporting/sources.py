"""What a report is made of: runs and tables, read from where they lie."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.config.run import Config
from oreflow.agent.errors import RunFolderError
from oreflow.agent.evaluation.satisfaction import NO_UNIT
from oreflow.agent.learners.families.conditions import with_target
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.tables.candidate_rows import (
    FIRST_ROWS,
    TABLES,
    compositions_of,
    newest_or_none,
    newest_table,
    table_in,
    table_rows,
)
from oreflow.agent.tables.formulas import formulas_of, row_errors
from oreflow.envs.arrays import Floats
from oreflow.envs.errors import TableError
from oreflow.envs.objects.compositions import Compositions

_CONFIG = "config.resolved.yaml"
MOST_ROWS = 100_000
"""Rows that a page holds, of all its tables together."""


@dataclass(frozen=True)
class TermColumn:
    """A reward term in a table.

    Attributes:
        column: of its values; None where the table has none.
        scored: of what its shape is applied to; mostly the same.
        shape: `kind` and parameters; empty where no config says them.
    """

    name: str
    unit: str
    column: str | None
    scored: str | None
    shape: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name and unit for people."""
        unit = f" / {self.unit}" if self.unit not in NO_UNIT else ""
        return self.name.replace("_", " ") + unit


@dataclass(frozen=True)
class Source:
    """One run, or one table.

    Attributes:
        label: what it is called in the report.
        table_path: of the candidates.
        run: its folder; None for a table without one.
        rows: the candidates that the page holds, numbered from 0; a column `formula_shown`, where there are formulas.
        n_rows: in the file.
        compositions: of the rows; None where objects have no formula.
        reward: of `reward` in the summary; empty without.
        notes: what was left out, and why.
    """

    label: str
    table_path: Path
    run: RunFolder | None
    config: Config | None
    rows: pd.DataFrame
    n_rows: int
    compositions: Compositions | None
    terms: tuple[TermColumn, ...]
    summary: dict[str, Any]
    provenance: dict[str, Any]
    notes: tuple[str, ...]

    def numbers(self, column: str | None) -> Floats | None:
        """A column as float64 [row], NaN for what is missing; None where there is none, or nothing in it."""
        if column is None or column not in self.rows.columns:
            return None
        values = pd.to_numeric(self.rows[column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        return values if np.isfinite(values).any() else None


def read_sources(paths: list[Path], formula_column: str | None = None) -> list[Source]:
    """Read runs, folders of runs (of one config over seeds), folders of candidates, and tables.

    Args:
        formula_column: its name in tables; by default one of the usual ones.

    Raises:
        RunFolderError: for a run that nothing was sampled from, and a folder that holds neither.
        TableError: for a file that is no table of formulas.
    """
    places: list[tuple[Path, RunFolder | None]] = []
    for path in paths:
        places += _places(path)
    labels = _labels([_called(table, run) for table, run in places])
    most = MOST_ROWS // len(places)
    return [_read(table, run, label, formula_column, most) for (table, run), label in zip(places, labels)]


def _places(path: Path) -> list[tuple[Path, RunFolder | None]]:
    """Tables of candidates below a path, and the runs that they are of."""
    if not path.is_dir():
        return [(path, _run_above(path.parent))]
    if (path / _CONFIG).is_file():
        return [(newest_table(path), RunFolder(path))]
    table = table_in(path)
    if table is not None:
        return [(table, _run_above(path))]
    runs = sorted(found.parent for found in path.glob(f"*/{_CONFIG}"))
    sampled = [run for run in runs if newest_or_none(run) is not None]
    if sampled:
        return [(newest_table(run), RunFolder(run)) for run in sampled]
    if runs:
        raise RunFolderError(f"no candidates in any run of {path}; run `oreflow sample {runs[0]}` first")
    raise RunFolderError(f"expected a run, a folder of candidates or a table, found none of them in {path}")


def _run_above(folder: Path) -> RunFolder | None:
    """The run whose candidates lie in a folder."""
    return RunFolder(folder.parent) if (folder.parent / _CONFIG).is_file() else None


def _called(table: Path, run: RunFolder | None) -> Path:
    """What a source is called by: the run, the folder of candidates, or the table."""
    path = (table if run is None else run.path).resolve()
    return path.parent if path.name in TABLES else path


def _labels(paths: list[Path]) -> list[str]:
    """Names of runs and tables, with as many folders before them as tell them apart."""
    for n_parts in range(1, 1 + max(len(path.parts) for path in paths)):
        labels = ["/".join(path.parts[-n_parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    return [str(path) for path in paths]


def _read(table: Path, run: RunFolder | None, label: str, formula_column: str | None, most_rows: int) -> Source:
    rows, n_rows = table_rows(table, most_rows)
    notes = []
    if len(rows) < n_rows:
        notes.append(
            f"{n_rows:,} rows in the table; this page and its figures hold {len(rows):,} of them: the first "
            f"{FIRST_ROWS:,} and others drawn at random"
        )
    compositions, texts = None, _formulas(rows, table, formula_column)
    if texts is not None:
        compositions, read, errors = compositions_of(texts)
        bad = row_errors(rows, errors)
        if bad:
            notes.append(f"{len(bad):,} rows without a readable formula are left out; {bad[0]}")
        rows = rows.assign(formula_shown=_shown(rows, texts)).iloc[read]
    rows = rows.reset_index(drop=True)
    summary = _json(table.with_name("summary.json"))
    config = None if run is None else _asked(run.load_config(), summary)
    return Source(
        label=label,
        table_path=table,
        run=run,
        config=config,
        rows=rows,
        n_rows=n_rows,
        compositions=compositions,
        terms=_terms(config, summary, rows),
        summary=summary,
        provenance={} if run is None else _json(run.provenance_path),
        notes=tuple(notes),
    )


def _shown(rows: pd.DataFrame, texts: list[str]) -> list[str]:
    """Formulas as chemists write them where oreflow wrote the table, else the most readable column."""
    if {"formula", "formula_reduced", "anion"} <= set(rows.columns):
        return rows["formula"].astype(str).tolist()
    return rows["formula_pretty"].astype(str).tolist() if "formula_pretty" in rows.columns else texts


def _asked(config: Config, summary: dict[str, Any]) -> Config:
    """The config with the value of a property that the candidates were asked for, where there is one."""
    condition = summary.get("condition")
    target = condition.get("target") if isinstance(condition, dict) else None
    return with_target(config, target) if isinstance(target, dict) else config


def _formulas(rows: pd.DataFrame, table: Path, column: str | None) -> list[str] | None:
    """The column of formulas; None in tables of an own world, whose objects are described in words."""
    try:
        return formulas_of(rows, str(table), column)
    except TableError:
        if "object" in rows.columns:
            return None
        raise


def _terms(config: Config | None, summary: dict[str, Any], rows: pd.DataFrame) -> tuple[TermColumn, ...]:
    """The terms of a config, or else those whose columns a table has."""
    columns = [str(name) for name in rows.columns]
    units = {term["name"]: term["unit"] for term in (summary.get("reward") or {}).get("terms", [])}
    if config is None:
        names = [name.removesuffix("_log_score") for name in columns if name.endswith("_log_score")]
        shapes: dict[str, Mapping[str, Any]] = {}
    else:
        names = [term.label or term.name for term in config.reward.terms]
        shapes = {term.label or term.name: term.shape for term in config.reward.terms}
    found = []
    for name in names:
        place = columns.index(f"{name}_valid") - 1 if f"{name}_valid" in columns else -1
        column = columns[place] if place >= 0 else None
        scored = f"{name}_scored" if f"{name}_scored" in columns else column
        found.append(TermColumn(name, units.get(name, ""), column, scored, shapes.get(name, {})))
    return tuple(found)


def _json(path: Path) -> dict[str, Any]:
    """A JSON file beside the table; empty where it is missing, or somebody else's."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
