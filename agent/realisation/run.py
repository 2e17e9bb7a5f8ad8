"""What the verb `realise` does: reads decorations, finds their geometries, writes a folder."""

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oreflow.agent.errors import OutputError, RealisationError
from oreflow.agent.realisation.geometries import Rank, Settings, decoration_key, find_geometries
from oreflow.agent.realisation.inputs import Row, read_rows, table_of
from oreflow.agent.realisation.ranking import ranking
from oreflow.agent.realisation.table import failed_table, realised_table, summary
from oreflow.agent.relaxation.journal import Journal
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.storage.atomic_files import to_json, write_text
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import add_to_manifest, check_place
from oreflow.agent.tables.formulas import write_csv
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text
from oreflow.envs.structure_io.writers import cif_text
from oreflow.rewards.executors.in_turn import run_tasks
from oreflow.rewards.executors.protocol import Task, Work
from oreflow.rewards.executors.settings import ExecutorSettings, make_executor

TABLE_FILE, FAILED_FILE, SUMMARY_FILE, CIF_FOLDER = "realised.csv", "not_realised.csv", "summary.json", "cif"
JOURNAL_FILE = "realisations.jsonl"
_LEAST_PER_WORKER = 4  # decorations that are worth the start of a process
_TIME_LIMIT_S = 600.0


def realise_to_folder(
    path: Path,
    out: Path,
    settings: Settings,
    *,
    n: int | None = None,
    anew: bool = False,
    workers: int = 1,
    executor: ExecutorSettings | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write `realised.csv`, `not_realised.csv`, `summary.json`, `cif/` and the journal; return the summary.

    Called again, it searches only what is not in the journal. After an interruption the tables hold what was finished,
    and the summary says `interrupted`.

    Args:
        path: a candidate table, a folder of samples or a run folder.
        settings: of the search.
        n: only the first n rows.
        anew: whether rows that have a geometry are searched too; otherwise they are passed on as they are.
        workers: processes, each with one thread, where the executor does not say.
        executor: where it is done; by default in processes of this machine.
        overwrite: whether all are searched anew.

    Raises:
        TableError: when no row holds a crystal.
        RunFolderError: when the folder is in use, or holds realisations with other settings.
        PlaceError: when a file of another origin is in the way.
        OutputError: when the disk is full.
    """
    table = table_of(path)
    rows = read_rows(table, n)
    started = time.monotonic()
    with RunLock(out):
        check_place(out, [TABLE_FILE, FAILED_FILE, SUMMARY_FILE], overwrite=True)
        if overwrite:
            (out / JOURNAL_FILE).unlink(missing_ok=True)
        records, n_resumed, interrupted = _realise(
            rows, out, settings, anew, workers, executor or ExecutorSettings(), quiet
        )
        frame, crystals = realised_table(rows, records)
        failed = failed_table(rows, records)
        result = summary(rows, records, frame, failed) | {
            "n_resumed": n_resumed,
            "interrupted": interrupted,
            "seconds": round(time.monotonic() - started, 1),
            "input": str(table),
            "settings": settings.record(),
        }
        names = [] if crystals is None else [f"{CIF_FOLDER}/{name}.cif" for name in frame["candidate_id"]]
        try:
            check_place(out, names, overwrite=True)
            add_to_manifest(out, [TABLE_FILE, FAILED_FILE, SUMMARY_FILE, *names])
            if crystals is not None:
                (out / CIF_FOLDER).mkdir(exist_ok=True)
                for name, text in zip(names, cif_text(crystals, frame["candidate_id"].tolist())):
                    write_text(out / name, text)
            write_csv(frame, out / TABLE_FILE)
            write_csv(failed, out / FAILED_FILE)
            write_text(out / SUMMARY_FILE, to_json(result))
        except OSError as error:
            raise _disk_failed(out, error) from error
    return result


def _realise(
    rows: Sequence[Row],
    out: Path,
    settings: Settings,
    anew: bool,
    workers: int,
    executor: ExecutorSettings,
    quiet: bool,
) -> tuple[list[dict[str, Any] | None], int, bool]:
    """A record of each row, how many were in the journal, and whether a signal came first."""
    record = settings.record()
    records: list[dict[str, Any] | None] = [None] * len(rows)
    searched: dict[int, str] = {}
    for place, row in enumerate(rows):
        if row.crystal is None:
            records[place] = {"reason": row.reason}
        elif row.crystal.has_geometry[0] and not anew:
            geometry = {"structure": crystal_to_text(row.crystal)[0]}
            records[place] = {"reason": "", "geometry": "given", "geometries": [geometry]}
        else:
            searched[place] = decoration_key(row.crystal, record)
    interrupted = False
    with contextlib.closing(Journal(out / JOURNAL_FILE, record, "realisations")) as journal:
        n_resumed = sum(key in journal.records for key in searched.values())
        todo = {key: rows[place].crystal for place, key in searched.items() if key not in journal.records}
        try:
            with (
                Progress("realise", len(todo), quiet) as progress,
                contextlib.closing(_entries(todo, settings, workers, executor)) as entries,
            ):
                n_trials, spent = 0, 1e-9
                for done, entry in enumerate(entries, start=1):
                    n_trials, spent = n_trials + entry.get("n_trials", 0), spent + entry["seconds"]
                    _add(journal, entry)
                    progress.update(done, trials_per_second=n_trials / spent)
        except KeyboardInterrupt:
            interrupted = True
        for place, key in searched.items():
            records[place] = journal.records.get(key)
    return records, n_resumed, interrupted


def _entries(
    crystals: dict[str, Crystals | None], settings: Settings, workers: int, executor: ExecutorSettings
) -> Generator[dict[str, Any], None, None]:
    """What the journal keeps of decorations, as they are finished; here, or in several processes."""
    tasks = [(key, crystal_to_text(crystal)[0]) for key, crystal in crystals.items() if crystal is not None]
    workers = min(executor.workers or workers, max(len(tasks) // _LEAST_PER_WORKER, 1))
    if workers == 1 and executor.kind == "local":
        realise = make_realiser(settings) if tasks else None
        for task in tasks:
            assert realise is not None
            yield realise(task)
        return
    crew = make_executor(executor, realisation_work(settings), time_limit_s=_TIME_LIMIT_S, workers=workers)
    with contextlib.closing(run_tasks([Task(key, (key, text)) for key, text in tasks], crew)) as answers:
        for answer in answers:
            if answer.kind == "done":
                yield answer.value
            else:
                yield {"key": answer.id, "reason": answer.reason, "seconds": round(answer.seconds, 3)}


def realisation_work(settings: Settings) -> Work:
    """The work of finding geometries of a decoration, given as its key and its text."""
    return Work("realisation", asdict(settings), functools.partial(make_realiser, settings))


def make_realiser(settings: Settings) -> Callable[[tuple[str, str]], dict[str, Any]]:
    """A function that finds the geometries of one decoration, given as its key and its text."""
    rank = ranking(settings.rank)

    def realise(task: tuple[str, str]) -> dict[str, Any]:
        key, text = task
        return _entry(crystal_from_text([text]), key, settings, rank)

    return realise


def _entry(crystal: Crystals, key: str, settings: Settings, rank: Rank | None) -> dict[str, Any]:
    """What the journal keeps of one decoration."""
    started = time.monotonic()
    try:
        found = find_geometries(crystal, settings, rank)
    except RealisationError as error:
        return {"key": key, "reason": str(error), "seconds": round(time.monotonic() - started, 3)}
    geometries = [
        {
            "structure": crystal_to_text(geometry.crystal)[0],
            "potential": geometry.potential,
            "pair_energy": geometry.pair_energy,
            "energy": geometry.energy,
        }
        for geometry in found.geometries
    ]
    return {
        "key": key,
        "reason": "",
        "geometry": "realised",
        "seconds": round(time.monotonic() - started, 3),
        "n_free_coordinates": found.n_free_coordinates,
        "n_free_parameters": found.n_free_parameters,
        "n_trials": found.n_trials,
        "n_distinct": found.n_distinct,
        "geometries": geometries,
    }


def _add(journal: Journal, entry: dict[str, Any]) -> None:
    try:
        journal.add(entry)
    except OSError as error:
        raise _disk_failed(journal.path, error) from error


def _disk_failed(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}: {error.strerror or error}; what was found before is kept in {JOURNAL_FILE}: make room "
        "and give the same command again"
    )
