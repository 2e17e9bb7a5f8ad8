"""`sample`: a candidate set, and geometries of its crystals."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    DONE,
    STOPPED_BY_SIGNAL,
    AsJson,
    Beta,
    FormulaColumn,
    Plugins,
    Quiet,
    Reference,
    Seed,
    TargetValue,
    Weights,
    condition_line,
    load_plugins,
    n_cores,
    print_json,
    read_reference,
    verb,
)

REALISED_FOLDER = "realised"


@verb
def sample(
    n: Annotated[int, typer.Option("-n", min=1, help="How many candidates.")],
    run: Annotated[Path | None, typer.Argument(help="A trained run folder; none with --prior.")] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            "--prior", help="Draw from a prior instead: compositions or decorations, which ship, or a folder."
        ),
    ] = None,
    seed: Seed = None,
    unique: Annotated[bool, typer.Option("--unique", help="Distinct candidates, ranked; otherwise raw draws.")] = False,
    max_draws: Annotated[int | None, typer.Option(min=1, help="Give up after so many draws; 100 n by default.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder to write; RUN/samples by default, then RUN/samples_2; of a prior NAME_samples."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier candidates there; other files stay in any case.")
    ] = False,
    reference: Reference = None,
    formula_column: FormulaColumn = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            help='Partial object that all candidates complete: "Li3 P S4 ?" (no count: open; ?: one element more; *: '
            'any number), "221: Sr@1a Ti ?".',
        ),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(
            "--near",
            help='Object that all candidates differ from: a formula; of crystals "221: Sr@1a Ti@1b O@3c", or a file.',
        ),
    ] = None,
    changes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --near: most changes, 1 by default. One is an element exchanged, added or taken out, or a count "
            "changed; in crystals an element exchanged on a site, or a site added or taken out.",
        ),
    ] = None,
    structures: Annotated[
        bool,
        typer.Option(
            "--structures",
            help="Find the best geometry of each crystal too, as `oreflow realise` does: OUT/realised. One that was "
            "sampled is not kept.",
        ),
    ] = False,
    beta: Beta = None,
    weights: Weights = None,
    target: TargetValue = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Draw a candidate set: candidates.csv to read, candidates.parquet with all columns, summary.json.

    With --start or --near the run's policy is conditioned step by step on what can still be finished within these
    bounds: it chooses among the actions that can, in their proportions. Every row keeps to the bounds.

    Example: oreflow sample runs/quickstart -n 1000 --unique
    Example: oreflow sample runs/any_energy -n 100 --unique --target formation_energy=-1.5
    Example: oreflow sample --prior compositions -n 1000 --start "Li ? P S"
    """
    from oreflow.agent.errors import ConfigError
    from oreflow.agent.learners.families.conditions import parse_target, parse_weights
    from oreflow.agent.sampling.sample import sample as draw_candidates
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.storage.shipped_priors import shipped_names
    from oreflow.agent.training.priors import fitted_config

    load_plugins(plugin)
    if changes is not None and near is None:
        raise ConfigError("--changes says how far candidates may be from --near; add --near, or leave it out")
    known = read_reference(reference, formula_column, quiet)
    if (run is None) == (prior is None):
        raise ConfigError(
            "expected a run or --prior, and not both; name a run folder, or one of the priors that ship: "
            + ", ".join(shipped_names())
        )
    if prior is not None:
        fitted_config(prior)  # whether there is one of this name
    source: RunFolder | str = prior if prior in shipped_names() else RunFolder(run or Path(prior or ""))
    out = out or (Path(f"{source}_samples") if isinstance(source, str) else source.free_samples(overwrite))
    summary = draw_candidates(
        source,
        n,
        out=out,
        seed=seed,
        unique=unique,
        overwrite=overwrite,
        max_draws=max_draws,
        reference=known,
        quiet=quiet,
        beta=beta,
        weights=None if weights is None else parse_weights(weights),
        target=None if target is None else parse_target(target),
        start=start,
        near=near,
        changes=changes or 1,
    )
    realised = _realise(out, overwrite, quiet) if structures and summary["n_rows"] else None
    if as_json:
        print_json(summary if realised is None else summary | {"realised": realised})
    elif not quiet:
        print_summary(summary, out)
        if realised is not None:
            print(f"geometries                 {realised['n_geometries']}: {out / REALISED_FOLDER}")
    if realised is not None and realised["n_failed"]:
        first = realised["first_failures"][0]
        print(
            f"oreflow: {realised['n_failed']} without a geometry; {first['decoration_id']}: {first['reason']}",
            file=sys.stderr,
        )
    if realised is not None and realised["interrupted"]:
        print(
            f"oreflow: interrupted; the rest are found by: oreflow realise {out} --keep 1 --anew --out "
            f"{out / REALISED_FOLDER}",
            file=sys.stderr,
        )
        return STOPPED_BY_SIGNAL
    if summary["n_rejected_invalid_reward"]:
        print(f"oreflow: {summary['n_rejected_invalid_reward']} left out without a valid reward", file=sys.stderr)
    elif summary["world_exhausted"] and not summary["complete"] and (start or near):
        print(
            f"oreflow: {summary['n_rows']} of {n}: these are all that keep to the bounds; name less in --start, or "
            "allow more --changes",
            file=sys.stderr,
        )
    elif summary["world_exhausted"] and not summary["complete"]:
        print(
            f"oreflow: {summary['n_rows']} of {n}: these are all objects of this world; for more, widen the world in "
            "the config and train again",
            file=sys.stderr,
        )
    elif not summary["complete"]:
        print(
            f"oreflow: {summary['n_rows']} of {n} after {summary['n_draws']} draws; raise --max-draws", file=sys.stderr
        )
    return DONE


def _realise(samples: Path, overwrite: bool, quiet: bool) -> dict[str, Any]:
    """Find the best geometry of each candidate, in a folder of its own; return the summary."""
    from oreflow.agent.realisation.geometries import Settings
    from oreflow.agent.realisation.ranking import default_rank
    from oreflow.agent.realisation.run import realise_to_folder

    settings = Settings(keep=1, rank=default_rank())
    return realise_to_folder(
        samples,
        samples / REALISED_FOLDER,
        settings,
        anew=True,
        workers=n_cores(),
        overwrite=overwrite,
        quiet=quiet,
    )


def print_summary(summary: dict[str, Any], out: Path) -> None:
    """Print what a candidate set is like, a line a figure."""
    from oreflow.agent.evaluation.random_objects import BUILD_ORDERS, UNIFORM
    from oreflow.agent.sampling.wishes import hull_lines, in_lines

    print(
        f"{summary['n_rows']} candidates ({summary['rows']}) from {summary['n_draws']} draws: {out / 'candidates.csv'}"
    )
    page = summary.get("first_page")
    if page and page["n_rows"] < summary["n_rows"]:
        counted = ", ".join(f"{n} {name}" for name, n in page["anion_chemistries"].items())
        print(f"the first {page['n_rows']}               {counted}; ranks 1 to {page['last_rank']}")
    print(f"sampled                    {summary['target']}")
    if "condition" in summary:
        print(f"sampled under              {condition_line(summary['condition'])}")
    if not summary["n_rows"]:
        return
    if "neutrality_rule" in summary:
        print(f"charge-neutral             {summary['share_neutral']:.1%} ({summary['neutrality_rule']})")
        print(f"electronegativity-balanced {summary['share_electronegativity_ok']:.1%}")
    for line in [*in_lines(summary), *hull_lines(summary)]:
        print(line)
    if "n_space_groups" in summary:
        within = summary["median_std_within_space_groups"]
        entropy = summary["entropy_space_groups_nats"]
        close = "" if within is None else f"; std of log R - log P within one {within:.2f} nats (median)"
        print(f"space groups               {summary['n_space_groups']}, entropy {entropy:.2f} nats{close}")
    if "shares_of_rows" in summary:
        shares = ", ".join(f"{k}: {share:.1%}" for k, share in summary["shares_of_rows"].items())
        print(f"numbers of elements        {shares} of the rows")
    spread = summary["log_reward_minus_log_pf_std"]
    if spread is not None:
        print(f"std of log R - log P       {spread:.2f} nats over the rows (0 for a perfect sampler)")
    volume = summary.get("hypervolume")
    if volume is not None:
        print(
            f"hypervolume of log-scores  {volume['value']:.4g} of {volume['n_rows']} rows"
            + (
                ""
                if volume["random_value"] is None
                else f"; {volume['random_value']:.4g} of {volume['n_random']} objects, {volume['random_objects']}"
            )
        )
    for name, value in summary.get("world", {}).items():
        print(f"{name.replace('_', ' '):26s} {value:.4g}" if isinstance(value, float) else f"{name:26s} {value}")
    if "energy_model" not in summary:
        return
    print(
        f"elements present           {summary['n_elements_present']}, chemical systems {summary['n_chemical_systems']}"
    )
    ours = summary["median_formation_energy_ev_per_atom"]
    random = summary["random_median_formation_energy_ev_per_atom"]
    asked = [wish["term"] for wish in summary.get("wishes", [])]
    if ours and random and (not asked or any("formation_energy" in term for term in asked)):
        print(
            f"median formation energy    {ours['value']:.3f} ± {ours['standard_error']:.3f} eV/atom predicted "
            f"({summary['energy_model']})"
        )
        print(
            f"its uncertainty            {summary['median_formation_energy_std_ev_per_atom']:.3f} eV/atom (median "
            f"standard deviation); {summary['share_far_from_training_data']:.1%} far from the training data"
        )
        difference = random["value"] - ours["value"]
        label = f"{summary['random_objects']}, same world" if summary["random_objects"] == UNIFORM else BUILD_ORDERS
        print(
            f"{label:26s} {random['value']:.3f} ± {random['standard_error']:.3f} eV/atom "
            f"({summary['n_random']} objects): {abs(difference):.3f} eV/atom "
            + ("higher" if difference > 0 else "lower")
        )
