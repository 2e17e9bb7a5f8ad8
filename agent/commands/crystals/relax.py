"""`oreflow relax`: structures at rest, on one potential, in parallel."""

import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from oreflow.agent.commands.common import DONE, STOPPED_BY_SIGNAL, AsJson, Executor, Quiet, n_cores, print_json, verb

TRACKS = ("both", "held", "free")  # as `relaxation.tracks` has them, which is imported when it is needed


@verb
def relax(
    candidates: Annotated[
        list[Path],
        typer.Argument(help="Structure files, folders of them, or the candidate table of `oreflow sample`."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; the same command goes on where it stopped.")],
    n: Annotated[int | None, typer.Option("-n", min=1, help="The first n candidates; all by default.")] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            help="Known phases (CSV or Parquet), or `predicted`, the hull that ships: for the energy above it.",
        ),
    ] = None,
    same_formula: Annotated[
        str, typer.Option("--same-formula", help="Known phases of a row's own formula: include, or exclude.")
    ] = "include",
    fmax: Annotated[float, typer.Option("--fmax", help="Converged below this force, eV/angstrom.")] = 0.1,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the optimiser, at most.")] = 500,
    rattle: Annotated[
        float,
        typer.Option(
            "--rattle",
            help="Angstrom by which atoms are displaced before the free track, which tells whether the symmetry is "
            "stable; 0 leaves that track out.",
        ),
    ] = 0.05,
    track: Annotated[
        str,
        typer.Option("--track", help="held: what keeps the symmetry moves; free: all moves, after a rattle; or both."),
    ] = "both",
    potential: Annotated[
        str, typer.Option("--potential", help="chgnet, 7net-0, 7net-l3i5, or the name that a plug-in registers.")
    ] = "chgnet",
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="Python file that registers a potential of your own.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one a core by default.")] = None,
    executor: Executor = None,
    time_limit: Annotated[float, typer.Option("--time-limit", help="Seconds for one structure.")] = 600.0,
    model_version: Annotated[
        str | None, typer.Option("--model-version", help="CHGNet model: 0.3.0, 0.2.0 or r2scan; 0.3.0 by default.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what crashed or ran out of time.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Relax all anew.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Relax structures with an interatomic potential: relaxed.csv, summary.json and CIFs.

    It says what a structure becomes, with which formation energy, and whether it keeps its symmetry.

    Example: oreflow relax runs/crystals/samples/candidates.csv --out runs/crystals/relaxed --reference known.csv
    """
    from oreflow.rewards.potential.chgnet import name_of_version
    from oreflow.rewards.potential.listing import require_potential
    from oreflow.rewards.registry import load_plugin

    for path in plugin or ():
        load_plugin(path)
    if model_version is not None:
        if potential != "chgnet":
            raise ValueError(f"expected --model-version with --potential chgnet only, got it with {potential!r}")
        potential = name_of_version(model_version)
    require_potential(potential, "oreflow relax")
    if not (0 < fmax < float("inf") and time_limit > 0):
        raise ValueError(f"expected --fmax and --time-limit above 0, got {fmax:g} and {time_limit:g}")
    if not 0 <= rattle < 1:
        raise ValueError(f"expected --rattle from 0 to below 1 angstrom, got {rattle:g}")
    if track not in TRACKS:
        raise ValueError(f"expected --track to be one of {', '.join(TRACKS)}, got {track!r}")
    if track == "free" and rattle == 0:
        raise ValueError("expected --rattle above 0 with --track free, which begins with a rattle")
    if same_formula not in ("include", "exclude"):
        raise ValueError(f"expected --same-formula to be include or exclude, got {same_formula!r}")

    from oreflow.agent.config.executor import executor_of
    from oreflow.agent.relaxation.run import relax_to_folder

    result = relax_to_folder(
        candidates,
        out,
        n=n,
        reference=reference,
        same_formula=same_formula,
        fmax=fmax,
        steps=steps,
        rattle_a=rattle,
        workers=workers or n_cores(),
        executor=executor_of(executor),
        time_limit_s=time_limit,
        potential=potential,
        track=cast(Any, track),
        plugins=plugin or (),
        retry=retry,
        overwrite=overwrite,
        quiet=quiet,
    )
    if as_json:
        print_json(result)
    elif not quiet:
        _print_summary(result, out)
    failed = result["first_failures"]
    if failed and not quiet:
        first = failed[0]
        print(
            f"oreflow: {result['n_without_structure']} without a relaxed structure; {first['candidate_id']} "
            f"{first['status'].replace('_', ' ')}: {first['reason']}",
            file=sys.stderr,
        )
    if result["interrupted"]:
        print(
            f"oreflow: interrupted; {result['n_rows']} of {result['n_candidates']} are done and kept, and the same "
            "command goes on from there",
            file=sys.stderr,
        )
    return STOPPED_BY_SIGNAL if result["interrupted"] else DONE


def _print_summary(result: dict[str, Any], out: Path) -> None:
    counts = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in result["n_by_status"].items())
    print(f"{result['n_rows']} structures ({counts}): {out / 'relaxed.csv'}")
    if result["n_resumed"]:
        print(f"of them relaxed before     {result['n_resumed']}")
    if not result["n_by_status"].get("converged"):
        return
    if result["settings"]["track"] == "free":
        _print_free(result)
        return
    if result["n_rattled_with_symmetry"]:
        lower = -1000 * result["median_free_energy_change_ev_per_atom"]
        n_rattled = result["n_rattled_with_symmetry"]
        print(
            f"symmetry kept              {result['share_symmetry_kept']:.1%} of the {n_rattled} that had any and "
            f"converged twice ({result['symmetry_rule']})"
        )
        print(f"lower without symmetry     {lower:.1f} meV/atom in the median")
    print(f"median energy change       {result['median_energy_change_ev_per_atom']:.3f} eV/atom")
    print(f"median |volume change|     {result['median_absolute_volume_change']:.1%}")
    if result["median_formation_energy_ev_per_atom"] is not None:
        print(
            f"median formation energy    {result['median_formation_energy_ev_per_atom']:.3f} eV/atom "
            f"({result['potential']['name']}{_error(result)})"
        )
    if result["median_energy_above_hull_ev_per_atom"] is not None:
        print(
            f"median energy above hull   {result['median_energy_above_hull_ev_per_atom']:.3f} eV/atom; on or below it "
            f"{result['share_on_or_below_hull']:.1%}, within 0.1 eV/atom "
            f"{result['share_within_0.1_ev_per_atom_of_hull']:.1%}"
        )
    _print_free(result)


def _print_free(result: dict[str, Any]) -> None:
    median = result["median_free_energy_above_hull_ev_per_atom"]
    if median is not None:
        print(
            f"energy above hull, free    {median:.3f} eV/atom in the median; on or below it "
            f"{result['share_free_on_or_below_hull']:.1%}, within 0.1 eV/atom "
            f"{result['share_free_within_0.1_ev_per_atom_of_hull']:.1%}"
        )


def _error(result: dict[str, Any]) -> str:
    error = result["formation_energy_error_ev_per_atom"]
    return "" if error is None else f"; mean error {error:g} on known compounds"
