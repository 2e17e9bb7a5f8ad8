"""`sample`, `evaluate` and `score`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.commands.common import (
    BAD_INPUT,
    DONE,
    AsJson,
    Beta,
    Plugins,
    Quiet,
    Seed,
    Weights,
    condition_line,
    load_plugins,
    print_json,
    verb,
)

Reference = Annotated[
    Path | None,
    typer.Option("--reference", help="What is known, for novelty: a table of formulas, or CIFs and other structures."),
]
TableOption = Annotated[
    str | None,
    typer.Option("--oxidation-table", help="Table that neutrality is judged by: a name, or a CSV, JSON or YAML file."),
]
Mixed = Annotated[bool, typer.Option("--mixed-valence", help="Let atoms of one element differ in oxidation state.")]


@verb
def sample(
    run: Annotated[Path, typer.Argument(help="A trained run folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many candidates.")],
    seed: Seed = None,
    unique: Annotated[bool, typer.Option("--unique", help="Distinct candidates, ranked; otherwise raw draws.")] = False,
    max_draws: Annotated[int | None, typer.Option(min=1, help="Give up after so many draws; 100 n by default.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write; RUN/samples by default.")] = None,
    reference: Reference = None,
    beta: Beta = None,
    weights: Weights = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Draw a candidate set: candidates.csv, candidates.parquet, summary.json.

    Example: oreflow sample runs/quickstart -n 1000 --unique
    """
    from agent.families import parse_weights
    from agent.run_dir import RunFolder
    from agent.sampling import sample as draw_candidates

    load_plugins(plugin)
    known = _read_known(reference)
    folder = RunFolder(run)
    out = out or folder.samples
    summary = draw_candidates(
        folder,
        n,
        out=out,
        seed=seed,
        unique=unique,
        max_draws=max_draws,
        reference=known,
        quiet=quiet,
        beta=beta,
        weights=None if weights is None else parse_weights(weights),
    )
    if as_json:
        print_json(summary)
    elif not quiet:
        _print_summary(summary, out)
    if summary["n_rejected_invalid_reward"]:
        print(f"oreflow: {summary['n_rejected_invalid_reward']} left out without a valid reward", file=sys.stderr)
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


def _read_known(reference: Path | None) -> Any:
    from agent.known_crystals import holds_crystals, read_crystals
    from agent.tables import read_reference

    if reference is None:
        return None
    known: Any
    if holds_crystals(reference):
        known, _, bad = read_crystals(reference)
    else:
        known, bad = read_reference(reference)
    if bad:
        print(f"oreflow: {len(bad)} rows of {reference} skipped; {bad[0]}", file=sys.stderr)
    return known


def _print_summary(summary: dict[str, Any], out: Path) -> None:
    from agent.random_objects import BUILD_ORDERS, UNIFORM

    print(
        f"{summary['n_rows']} candidates ({summary['rows']}) from {summary['n_draws']} draws: {out / 'candidates.csv'}"
    )
    if "condition" in summary:
        print(f"sampled under              {condition_line(summary['condition'])}")
    if not summary["n_rows"]:
        return
    print(f"charge-neutral             {summary['share_neutral']:.1%} ({summary['neutrality_rule']})")
    print(f"electronegativity-balanced {summary['share_electronegativity_ok']:.1%}")
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
    print(
        f"elements present           {summary['n_elements_present']}, chemical systems {summary['n_chemical_systems']}"
    )
    ours = summary["median_formation_energy_ev_per_atom"]
    random = summary["random_median_formation_energy_ev_per_atom"]
    if ours and random:
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


@verb
def evaluate(
    candidates: Annotated[Path, typer.Argument(help="CSV or Parquet with a column of formulas.")],
    reference: Reference = None,
    oxidation_table: TableOption = None,
    mixed_valence: Mixed = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; metrics.json beside the table by default.")
    ] = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Metrics of a candidate set: validity by named rule, uniqueness, novelty, recovery, diversity, energies.

    Example: oreflow evaluate runs/quickstart/samples/candidates.csv --reference known.csv
    """
    from agent.evaluate import evaluate as compute
    from agent.evaluate import evaluate_crystals
    from agent.files import to_json, write_text
    from agent.seeds import stream
    from agent.tables import formulas_of, read_table, row_errors
    from envs.crystals import Crystals
    from envs.decode import parse_formulas

    frame = read_table(candidates)
    compositions, _, errors = parse_formulas(formulas_of(frame, str(candidates)))
    bad = row_errors(frame, errors)
    if not len(compositions):
        raise ValueError(f"{candidates} holds no readable formula" + (f"; {bad[0]}" if bad else ""))
    if bad:
        print(f"oreflow: {len(bad)} rows of {candidates} skipped; {bad[0]}", file=sys.stderr)
    stated = str(frame["oxidation_table"].iloc[0]) if "oxidation_table" in frame.columns and len(frame) else ""
    table, mixed = _stated_rule(oxidation_table, mixed_valence, stated, candidates)
    known = _read_known(reference)
    formulas = known.compositions.reduced() if isinstance(known, Crystals) else known
    metrics = compute(
        compositions, len(bad), formulas, table=table, mixed_valence=mixed, rng=stream(seed or 0, "check")
    )
    if "structure" in frame.columns:
        metrics |= evaluate_crystals(frame, str(candidates), known if isinstance(known, Crystals) else None)
    target = out or _metrics_path(candidates)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, to_json(metrics))
    if as_json:
        print_json(metrics)
    elif not quiet:
        for name, value in metrics.items():
            if isinstance(value, float):
                print(f"{name:40s} {value:.4f}")
            elif isinstance(value, dict):
                print(
                    f"{name:40s} "
                    + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in value.items())
                )
            elif not isinstance(value, list):
                print(f"{name:40s} {value}")
        print(f"written to {target}")
    return DONE


def _stated_rule(given: str | None, mixed: bool, stated: str, candidates: Path) -> tuple[Any, bool]:
    """The table and valence rule: as given, else as the candidates say that they were judged by, else the default."""
    from agent.config import load_config
    from envs.oxidation import DEFAULT_TABLE, TABLES, resolve_table

    label = stated.removesuffix(" (mixed valence)")
    if given is not None:
        return resolve_table(given), mixed
    if label in TABLES:
        return resolve_table(label), mixed or label != stated
    if "@" not in label:
        return resolve_table(DEFAULT_TABLE), mixed
    # A user's own table: the run that drew the candidates holds it.
    config = candidates.parent.parent / "config.resolved.yaml"
    if config.is_file():
        table = resolve_table(load_config(config).world.oxidation_table)
        if table.label == label:
            return table, mixed or label != stated
    raise ValueError(
        f"{candidates} was judged by the oxidation-state table {label}, which does not ship with oreflow; give its "
        "file, or the name of another table, with --oxidation-table"
    )


def _metrics_path(candidates: Path) -> Path:
    if candidates.parent.name == "samples" and (candidates.parent.parent / "config.resolved.yaml").is_file():
        return candidates.parent.parent / "eval" / "metrics.json"
    return candidates.with_name("metrics.json")


@verb
def score(
    formulas: Annotated[list[str] | None, typer.Argument(help="Formulas.", metavar="FORMULA...")] = None,
    in_: Annotated[
        Path | None, typer.Option("--in", help="A table of formulas, or structures: CIFs, a folder, a table.")
    ] = None,
    reward: Annotated[list[str] | None, typer.Option("--reward", help="Reward to evaluate; repeatable.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="Parameter of a reward: NAME.KEY=VALUE; repeatable.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Instead of --reward: the reward of a config, with log R.")
    ] = None,
    oxidation_table: TableOption = None,
    mixed_valence: Mixed = False,
    plugin: Plugins = None,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file to write.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """The rewards' values for any formulas, or for the structures of --in.

    A formula that cannot be read keeps its row, says why in `note`, and makes the exit code 2; the others are scored.
    Structures that cannot be read are named on stderr.

    Example: oreflow score NaCl Fe3O4 NaN CsPbI3 H2O Og
    """
    from agent.build import make_reward
    from agent.config import load_config, term_parameters
    from agent.known_crystals import holds_crystals, read_crystals
    from agent.scoring import score_crystals, score_formulas
    from agent.tables import aligned, formulas_of, read_table, write_csv
    from envs.decode import parse_formulas

    load_plugins(plugin)
    texts = list(formulas or [])
    structures = in_ is not None and holds_crystals(in_)
    if structures and texts:
        raise ValueError(f"expected formulas, or structures with --in, got both: leave {texts[0]} or --in {in_} out")
    if in_ is not None and not structures:
        texts += formulas_of(read_table(in_), str(in_))
    if not texts and not structures:
        raise ValueError("expected formulas, or --in FILE; for example: oreflow score NaCl Fe3O4")
    names = list(reward or [])
    params = term_parameters(param or [], names)
    whole = None
    if config is not None:
        if names or params:
            raise ValueError("expected --config, or --reward with --param, got both")
        whole = make_reward(load_config(config), str(config))
    rule: dict[str, Any] = {"table": oxidation_table, "mixed_valence": mixed_valence}
    if structures:
        assert in_ is not None
        crystals, labels, bad = read_crystals(in_)
        if bad:
            print(f"oreflow: {len(bad)} structures of {in_} skipped; {bad[0]}", file=sys.stderr)
        frame = score_crystals(crystals, labels, names, params=params, reward=whole, **rule)
    else:
        frame = score_formulas(texts, names, params=params, reward=whole, **rule)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_csv(frame, out)
    if as_json:
        rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
        print_json(rows)
    elif not quiet and out is None:
        shown = frame.drop(columns=[c for c in ("formula_reduced", "oxidation_table") if c in frame])
        cells = [["" if value is None or value != value else _cell(value) for value in row] for row in _plain(shown)]
        print(aligned([str(c) for c in shown.columns], cells))
        if "oxidation_table" in frame:
            print(f"neutrality by {frame['oxidation_table'].iloc[0]}")
    elif not quiet:
        print(f"{len(frame)} rows written to {out}")
    unreadable = sum(1 for error in parse_formulas(texts)[2] if error)
    return BAD_INPUT if unreadable else DONE


def _plain(frame: Any) -> list[list[Any]]:
    return frame.astype(object).where(frame.notna(), None).to_numpy().tolist()


def _cell(value: Any) -> str:
    return f"{value + 0.0:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)  # + 0.0: no -0
