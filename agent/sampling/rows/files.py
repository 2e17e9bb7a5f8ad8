"""The files of a candidate set: the table for people, the full one, the summary, and structures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from oreflow.agent.runtime.progress import Progress
from oreflow.agent.storage.atomic_files import sync, to_json
from oreflow.agent.storage.manifest import take_over
from oreflow.agent.storage.scratch import writing_to
from oreflow.agent.tables.candidate_structures import N_CIFS, write_structures
from oreflow.agent.tables.candidates import candidate_id
from oreflow.agent.tables.formulas import write_chunks
from oreflow.agent.tables.people import for_people, people_columns
from oreflow.envs.arrays import Ints

_FILES = ("candidates.csv", "candidates.parquet", "summary.json")
_EXTXYZ, _CIFS = "structures.extxyz", "cif"


def write_candidates(
    chunks: Iterator[pa.Table],
    summary: dict[str, Any],
    out: Path,
    scratch: Path,
    progress: Progress,
    *,
    ranks: Ints | None,
    log_reward_decimals: int,
    has_novelty: bool,
    has_geometry: bool,
) -> None:
    """Number the rows, and replace the files in `out` when all of them are complete.

    Args:
        chunks: the rows in their order, at least one chunk.
        ranks: int64 [row], of the rows in that order; None leaves the column out.
        has_novelty: whether `is_novel` says anything.
        scratch: folder in `out` that the files are made in.
        has_geometry: whether there are structure files, too.

    Raises:
        OutputError: when `out` cannot be written; files that were there before stay as they were.
    """

    def numbered() -> Iterator[pa.Table]:
        n_rows = 0
        for chunk in chunks:
            ids = pa.array([candidate_id(n_rows + i) for i in range(len(chunk))], pa.string())
            metadata = chunk.schema.metadata
            chunk = chunk.set_column(0, pa.field("candidate_id", pa.string()), ids)
            if ranks is not None:
                there = pa.array(ranks[n_rows : n_rows + len(chunk)], pa.int64())
                chunk = chunk.add_column(1, pa.field("rank", pa.int64()), there)
            n_rows += len(chunk)
            yield chunk.replace_schema_metadata(metadata)
            progress.update(n_rows)

    def shown(frame: pd.DataFrame) -> pd.DataFrame:
        return for_people(frame, people_columns(list(frame.columns), has_novelty), log_reward_decimals)

    csv, parquet, json, extxyz, cifs = (scratch / name for name in (*_FILES, _EXTXYZ, _CIFS))
    with writing_to(out):
        write_chunks(numbered(), csv, parquet, shown)
        json.write_text(to_json(summary), encoding="utf-8")
        files = dict(zip(_FILES, (csv, parquet, json)))
        if has_geometry:
            write_structures(parquet, extxyz, cifs)
            files |= {_EXTXYZ: extxyz} | {f"{_CIFS}/{path.name}": path for path in sorted(cifs.iterdir())}
        for path in (csv, parquet, json):
            sync(path)
        take_over(out, files)


def file_names(n: int, has_geometry: bool) -> list[str]:
    """Name the files that n candidates may be written to."""
    cifs = [f"{_CIFS}/{candidate_id(i)}.cif" for i in range(min(n, N_CIFS))]
    return [*_FILES, *([_EXTXYZ, *cifs] if has_geometry else [])]
