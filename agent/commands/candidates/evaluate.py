"""`oreflow evaluate`: metrics of a table of candidates, and verdicts on relaxed crystals."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    DONE,
    AsJson,
    FormulaColumn,
    Mixed,
    Overwrite,
    Quiet,
    Reference,
    Seed,
    TableOption,
    may_write,
    print_json,
    read_reference,
    verb,
)


@verb
def evaluate(
    candidates: Annotated[
        Path,
        typer.Argument(
            help="A table of formulas; or relaxed.csv of `oreflow relax`, structure files, folders or archives of them."
        ),
    ],
    reference: Reference = None,
    formula_column: FormulaColumn = None,
    oxidation_table: TableOption = None,
    mixed_valence: Mixed = False,
    hull: Annotated[
        Path | None,
        typer.Option("--hull", help="Relaxed: phases to take the energy above the hull of, instead of the table's."),
    ] = None,
    aligned_by: Annotated[
        Path | None,
        typer.Option("--aligned-by", help="Relaxed: formation energies of the potential's kind, to align --hull to."),
    ] = None,
    max_residual: Annotated[
        float, typer.Option("--max-residual", help="Relaxed: eV/atom that the alignment may leave in the mean.")
    ] = 0.1,
    same_formula: Annotated[
        str, typer.Option("--same-formula", help="Relaxed: phases of a row's own formula in --hull: include, exclude.")
    ] = "include",
    threshold: Annotated[
        float, typer.Option("--threshold", help="Relaxed: eV/atom above the hull, at most, of a stable crystal.")
    ] = 0.08,
    metastable: Annotated[
        float, typer.Option("--metastable", help="Relaxed: the same of a metastable one, for M.S.U.N.")
    ] = 0.1,
    sampled: Annotated[
        int | None, typer.Option("--sampled", min=1, help="Crystals: objects drawn, if the table does not say it.")
    ] = None,
    second: Annotated[
        Path | None, typer.Option("--second", help="Relaxed: the same candidates relaxed by another potential.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; metrics.json beside the table by default.")
    ] = None,
    overwrite: Overwrite = False,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Metrics of a candidate set: validity by named rule, uniqueness, novelty, recovery, diversity, energies.

    Of relaxed crystals, and of anybody's structure files, it says which are stable, unique and novel, per sampled
    object, with threshold, hull, potential and novelty reference beside each figure: metrics.json and judged.csv.

    Example: oreflow evaluate runs/quickstart/samples/candidates.csv --reference known.csv
    """
    from oreflow.agent.judging.inputs import is_judged

    if is_judged(candidates):
        from oreflow.agent.judging.judge import Rule

        rule = Rule(reference, hull, aligned_by, max_residual, same_formula, threshold, metastable, sampled)
        return _judge(candidates, rule, second, out, overwrite, quiet, as_json)
    if hull or aligned_by or second or sampled:
        raise ValueError(
            f"expected a table of `oreflow relax`, or structures, with --hull, --aligned-by, --second and --sampled; "
            f"{candidates} is a table of formulas"
        )

    from oreflow.agent.evaluation.candidate_metrics import evaluate as compute
    from oreflow.agent.evaluation.candidate_metrics import evaluate_crystals
    from oreflow.agent.runtime.seeds import stream
    from oreflow.agent.storage.atomic_files import to_json, write_text
    from oreflow.agent.tables.formulas import formulas_of, read_table, row_errors
    from oreflow.agent.tables.full_table import where_columns_are
    from oreflow.envs.objects.crystals import Crystals
    from oreflow.envs.objects.formulas import parse_formulas

    target = out or _metrics_path(candidates)
    if not _is_metrics(target):  # metrics of an earlier call are replaced: the table that they are of is there
        may_write(target, overwrite)
    frame = read_table(candidates)
    compositions, _, errors = parse_formulas(formulas_of(frame, str(candidates), formula_column))
    bad = row_errors(frame, errors)
    if not len(compositions):
        raise ValueError(f"{candidates} holds no readable formula" + (f"; {bad[0]}" if bad else ""))
    if bad:
        print(f"oreflow: {len(bad)} rows of {candidates} skipped; {bad[0]}", file=sys.stderr)
    stated = str(frame["oxidation_table"].iloc[0]) if "oxidation_table" in frame.columns and len(frame) else ""
    table, mixed = _stated_rule(oxidation_table, mixed_valence, stated, candidates)
    if where_columns_are(frame):
        said = f"only what the CSV says is judged, and neutrality by {table.label}"
        print(f"oreflow: {said}{where_columns_are(frame)}", file=sys.stderr)
    known = read_reference(reference, _column_there(reference, formula_column), quiet)
    formulas = None if known is None else known.formula_units()
    metrics = compute(
        compositions, len(bad), formulas, table=table, mixed_valence=mixed, rng=stream(seed or 0, "check")
    )
    if "structure" in frame.columns:
        metrics |= evaluate_crystals(frame, str(candidates), known if isinstance(known, Crystals) else None)
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


def _judge(
    candidates: Path, rule: Any, second: Path | None, out: Path | None, overwrite: bool, quiet: bool, as_json: bool
) -> int:
    """Judge crystals, and write the metrics and the table of verdicts."""
    from oreflow.agent.judging.report import report
    from oreflow.agent.storage.atomic_files import to_json, write_text
    from oreflow.agent.tables.formulas import write_csv

    if rule.same_formula not in ("include", "exclude"):
        raise ValueError(f"expected --same-formula to be include or exclude, got {rule.same_formula!r}")
    relaxed_folder = candidates.is_dir() and (candidates / "relaxed.csv").is_file()
    name = "metrics.json" if candidates.name.endswith(".csv") else f"{candidates.name.split('.')[0]}_metrics.json"
    target = out or (candidates / "metrics.json" if relaxed_folder else candidates.with_name(name))
    table = target.with_name(target.stem.replace("metrics", "judged") + ".csv")
    if table.stem == target.stem:
        table = target.with_name(f"{target.stem}_judged.csv")
    if not _is_metrics(target):
        may_write(target, overwrite)
    if not _is_judged_table(table):
        may_write(table, overwrite)
    result = report(candidates, rule, second, quiet)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, to_json(result.metrics))
    write_csv(result.table, table)
    if as_json:
        print_json(result.metrics)
    elif not quiet:
        print("\n".join(result.lines))
        print(f"written to {target} and {table}")
    return DONE


def _column_there(reference: Path | None, column: str | None) -> str | None:
    """The column that the candidates' formulas are in, where the reference has it, too; else its own usual one."""
    from oreflow.agent.tables.formulas import read_table
    from oreflow.agent.tables.known_crystals import holds_crystals

    if column is None or reference is None or holds_crystals(reference):
        return None
    return column if column in read_table(reference).columns else None


def _stated_rule(given: str | None, mixed: bool, stated: str, candidates: Path) -> tuple[Any, bool]:
    """The table and valence rule: as given, else as the candidates say that they were judged by, else the default."""
    from oreflow.agent.config.run import load_config
    from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE, TABLES
    from oreflow.envs.chemistry.oxidation import resolve_table

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
        rule = load_config(config).world.charge_rule()
        table = None if rule is None else resolve_table(rule.table)
        if table is not None and table.label == label:
            return table, mixed or label != stated
    raise ValueError(
        f"{candidates} was judged by the oxidation-state table {label}, which does not ship with oreflow; give its "
        "file, or the name of another table, with --oxidation-table"
    )


def _metrics_path(candidates: Path) -> Path:
    if candidates.parent.name.startswith("samples") and (candidates.parent.parent / "config.resolved.yaml").is_file():
        return candidates.parent.parent / "eval" / "metrics.json"
    return candidates.with_name("metrics.json")


def _is_metrics(path: Path) -> bool:
    """Whether a file is what this verb writes."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and {"n_unreadable", "neutrality_rule"} <= data.keys()


def _is_judged_table(path: Path) -> bool:
    """Whether a file is a table of verdicts that this verb writes."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().startswith("candidate_id,decoration_id,stands_for_decoration,")
    except (OSError, ValueError):
        return False
