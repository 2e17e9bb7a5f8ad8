"""`realise`: decorations to geometries."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    BAD_INPUT,
    DONE,
    STOPPED_BY_SIGNAL,
    AsJson,
    Executor,
    Quiet,
    n_cores,
    print_json,
    verb,
)


@verb
def realise(
    candidates: Annotated[
        Path,
        typer.Argument(
            help="Candidate table with a column `structure`, or a run folder, whose newest samples are taken.",
            metavar="TABLE_OR_RUN",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; the same command goes on where it stopped.")],
    n: Annotated[int | None, typer.Option("-n", min=1, help="The first n rows; all by default.")] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, help="Geometries of each decoration; by default one, two or three, by free parameters."
        ),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(
            "--rank",
            help="What tells the best: energies of chgnet, the default where it is installed, or contacts, the pair "
            "potentials of the search.",
        ),
    ] = None,
    effort: Annotated[float, typer.Option("--effort", help="So many times as many trials.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the random starts.")] = 0,
    anew: Annotated[bool, typer.Option("--anew", help="Search rows too that have a geometry; else they pass.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one a core by default.")] = None,
    executor: Executor = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Search all anew.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Find geometries of decorations: realised.csv, CIFs, and not_realised.csv with a reason for each that has none.

    Cell and free coordinates are searched together at the volume expected of the composition, in pair potentials of
    known crystals. `oreflow relax DIR/realised.csv` goes on from there.

    Example: oreflow realise prior_samples/candidates.csv --out realised
    """
    from oreflow.agent.config.executor import executor_of
    from oreflow.agent.realisation.geometries import Settings
    from oreflow.agent.realisation.ranking import RANKS, default_rank
    from oreflow.agent.realisation.run import FAILED_FILE, TABLE_FILE, realise_to_folder

    if rank is not None and rank not in RANKS:
        raise ValueError(f"expected --rank to be {' or '.join(RANKS)}, got {rank!r}")
    if rank == "chgnet":
        from oreflow.rewards.potential.listing import require_potential

        require_potential("chgnet", "--rank chgnet")
    if not 0.01 <= effort <= 1000:
        raise ValueError(f"expected --effort from 0.01 to 1000, got {effort:g}")
    settings = Settings(keep or 0, effort, rank=rank or default_rank(), seed=seed)
    result = realise_to_folder(
        candidates,
        out,
        settings,
        n=n,
        anew=anew,
        workers=workers or n_cores(),
        executor=executor_of(executor),
        overwrite=overwrite,
        quiet=quiet,
    )
    if as_json:
        print_json(result)
    elif not quiet:
        _print_summary(result, out / TABLE_FILE)
    if result["n_failed"]:
        first = result["first_failures"][0]
        print(
            f"oreflow: {result['n_failed']} without a geometry, see {out / FAILED_FILE}; {first['decoration_id']}: "
            f"{first['reason']}",
            file=sys.stderr,
        )
    if result["interrupted"]:
        print(
            f"oreflow: interrupted; {result['n_done']} of {result['n_decorations']} are done and kept, and the same "
            "command goes on from there",
            file=sys.stderr,
        )
        return STOPPED_BY_SIGNAL
    return DONE if result["n_geometries"] else BAD_INPUT


def _print_summary(result: dict[str, Any], table: Path) -> None:
    print(f"{result['n_geometries']} geometries of {result['n_realised'] + result['n_given']} decorations: {table}")
    if result["n_resumed"]:
        print(f"of them found before       {result['n_resumed']}")
    if result["n_given"]:
        print(f"passed on as they were     {result['n_given']} (--anew searches them)")
    if result["n_realised"]:
        print(f"space groups               {result['n_space_groups']}")
        print(f"median contact ratio       {result['median_contact_ratio']:.2f} of the best geometries")
        print(f"ranked by                  {result['settings']['rank']}")
