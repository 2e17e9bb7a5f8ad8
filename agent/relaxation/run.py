"""What the verb `relax` does: reads candidates, relaxes them, writes a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oreflow.agent.errors import OutputError
from oreflow.agent.relaxation.inputs import read_candidates
from oreflow.agent.relaxation.relax import JOURNAL_FILE, relax_candidates
from oreflow.agent.relaxation.summary import summary
from oreflow.agent.relaxation.table import CIF_FOLDER, FREE_CIF_FOLDER, relaxed_table, write_cifs
from oreflow.agent.relaxation.tracks import Settings, Track
from oreflow.agent.storage.atomic_files import to_json, write_text
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import add_to_manifest, check_place
from oreflow.agent.tables.formulas import write_csv
from oreflow.rewards.executors.protocol import Make
from oreflow.rewards.executors.settings import ExecutorSettings
from oreflow.rewards.potential.listing import listed
from oreflow.rewards.reference.predicted_hull import hull_reference

TABLE_FILE, SUMMARY_FILE = "relaxed.csv", "summary.json"


def relax_to_folder(
    paths: Sequence[Path],
    out: Path,
    *,
    n: int | None = None,
    reference: Path | None = None,
    same_formula: str = "include",
    fmax: float = 0.1,
    steps: int = 500,
    rattle_a: float = Settings.rattle_a,
    workers: int = 1,
    executor: ExecutorSettings | None = None,
    time_limit_s: float = 600.0,
    potential: str = Settings.potential,
    track: Track = "both",
    plugins: Sequence[Path] = (),
    retry: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    make: Make | None = None,
) -> dict[str, Any]:
    """Writes `relaxed.csv`, `summary.json`, CIFs of both tracks and the journal `relaxations.jsonl`.

    It returns the summary. Called again, it relaxes only what is not in the journal. After an interruption the table
    holds what was finished, and the summary says `interrupted`.

    Raises:
        TableError: when no structure can be read, or the reference cannot.
        RunFolderError: when the folder is in use, or holds relaxations with other settings.
        ExecutorError, WorkersLostError, OutputError: as `relax_candidates` does.
    """
    if reference is not None and listed(potential).references is None:
        raise ValueError(
            f"expected a potential with reference energies of the elements with --reference, which formation energies "
            f"take; got {potential}, for which none are known"
        )
    candidates = read_candidates(paths, n)
    known = None if reference is None else hull_reference(reference, of_crystals=True)
    if known is not None:
        known.warn()
    settings = Settings(
        potential, fmax, steps, rattle_a, track=track, plugins=tuple(str(path.resolve()) for path in plugins)
    )
    with RunLock(out):
        names = [candidate.candidate_id for candidate in candidates]
        cifs = [f"{folder}/{name}.cif" for folder in (CIF_FOLDER, FREE_CIF_FOLDER) for name in names]
        # An earlier call of this command is gone on with, or replaced: either way its tables are written anew.
        check_place(out, [TABLE_FILE, SUMMARY_FILE, *cifs], overwrite=True)
        if overwrite:
            (out / JOURNAL_FILE).unlink(missing_ok=True)
        relaxed = relax_candidates(
            candidates,
            out,
            settings,
            workers=workers,
            executor=executor,
            time_limit_s=time_limit_s,
            retry=retry,
            quiet=quiet,
            make=make,
        )
        frame, structures = relaxed_table(candidates, relaxed.records, potential, known, same_formula)
        result = summary(frame, len(candidates), potential) | {
            "n_resumed": relaxed.n_resumed,
            "interrupted": relaxed.interrupted,
            "seconds": round(relaxed.seconds, 1),
            "workers": workers,
            "settings": settings.record() | {"time_limit_s": time_limit_s},
            "hull": None
            if known is None
            else {
                "reference": str(known.path),
                "sha256": known.sha256,
                "n_phases": len(known),
                "same_formula": same_formula,
                "convention": "formation energy less that of the reference's hull at the same composition; below 0 the "
                "structure is more stable than every mixture of phases in the reference",
            },
        }
        try:
            add_to_manifest(out, [TABLE_FILE, SUMMARY_FILE, *structures])
            write_cifs(structures, out)
            write_csv(frame, out / TABLE_FILE)
            write_text(out / SUMMARY_FILE, to_json(result))
        except OSError as error:
            raise OutputError(
                f"cannot write {out}: {error.strerror or error}; the relaxations are kept in {JOURNAL_FILE}: make room "
                "and give the same command again"
            ) from error
    return result
