"""What the verb `relax` does: reads candidates, relaxes them, writes a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oreflow.agent.errors import OutputError
from oreflow.agent.relaxation.inputs import read_candidates
from oreflow.agent.relaxation.pool import Make
from oreflow.agent.relaxation.relax import JOURNAL_FILE, Settings, relax_candidates
from oreflow.agent.relaxation.table import relaxed_table, summary, write_cifs
from oreflow.agent.storage.atomic_files import to_json, write_text
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import add_to_manifest, check_place
from oreflow.agent.tables.formulas import write_csv
from oreflow.rewards.potential.references import MODEL_VERSION
from oreflow.rewards.reference.known_phases import read_reference

TABLE_FILE, SUMMARY_FILE, CIF_FOLDER = "relaxed.csv", "summary.json", "cif"


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
    time_limit_s: float = 600.0,
    model_version: str = MODEL_VERSION,
    retry: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    make: Make | None = None,
) -> dict[str, Any]:
    """Writes `relaxed.csv`, `summary.json`, `cif/` and the journal `relaxations.jsonl`; returns the summary.

    Called again, it relaxes only what is not in the journal. After an interruption the table holds what was finished,
    and the summary says `interrupted`.

    Raises:
        TableError: when no structure can be read, or the reference cannot.
        RunFolderError: when the folder is in use, or holds relaxations with other settings.
        RelaxationError, OutputError: as `relax_candidates` does.
    """
    if reference is not None and model_version != MODEL_VERSION:
        raise ValueError(
            f"expected --model-version {MODEL_VERSION} with --reference, got {model_version!r}: reference energies of "
            "the elements, which formation energies take, are known for that model only"
        )
    candidates = read_candidates(paths, n)
    known = None if reference is None else read_reference(reference)
    if known is not None:
        known.warn()
    settings = Settings(model_version, fmax, steps, rattle_a)
    with RunLock(out):
        cifs = [f"{CIF_FOLDER}/{candidate.candidate_id}.cif" for candidate in candidates]
        # An earlier call of this command is gone on with, or replaced: either way its tables are written anew.
        check_place(out, [TABLE_FILE, SUMMARY_FILE, *cifs], overwrite=True)
        if overwrite:
            (out / JOURNAL_FILE).unlink(missing_ok=True)
        relaxed = relax_candidates(
            candidates,
            out,
            settings,
            workers=workers,
            time_limit_s=time_limit_s,
            retry=retry,
            quiet=quiet,
            make=make,
        )
        frame, structures = relaxed_table(candidates, relaxed.records, model_version, known, same_formula)
        result = summary(frame, len(candidates), model_version) | {
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
            add_to_manifest(out, [TABLE_FILE, SUMMARY_FILE, *(f"{CIF_FOLDER}/{name}.cif" for name in structures)])
            write_cifs(structures, out / CIF_FOLDER)
            write_csv(frame, out / TABLE_FILE)
            write_text(out / SUMMARY_FILE, to_json(result))
        except OSError as error:
            raise OutputError(
                f"cannot write {out}: {error.strerror or error}; the relaxations are kept in {JOURNAL_FILE}: make room "
                "and give the same command again"
            ) from error
    return result
