"""`oreflow repair`: the nearest charge-neutral formula of any formula or element fractions."""

from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    BAD_INPUT,
    DONE,
    AsJson,
    FormulaColumn,
    Mixed,
    Overwrite,
    Quiet,
    TableOption,
    may_write,
    print_json,
    verb,
)


@verb
def repair(
    formulas: Annotated[list[str] | None, typer.Argument(help="Formulas or fractions.", metavar="FORMULA...")] = None,
    in_: Annotated[Path | None, typer.Option("--in", help="A table with a column of formulas or fractions.")] = None,
    nearest: Annotated[
        str, typer.Option("--nearest", help="changes: fewest changed atoms; fractions: smallest distance of fractions.")
    ] = "changes",
    add: Annotated[
        list[str] | None,
        typer.Option("--add", help="Element, or list such as halogens, that may come in; repeatable, or with commas."),
    ] = None,
    keep_elements: Annotated[
        bool, typer.Option("--keep-elements", help="Each element of the formula has to stay.")
    ] = False,
    max_atoms: Annotated[int | None, typer.Option("--max-atoms", help="Largest number of atoms of the result.")] = None,
    max_changes: Annotated[int, typer.Option("--max-changes", help="Largest number of changed atoms.")] = 64,
    oxidation_table: TableOption = None,
    mixed_valence: Mixed = False,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Each cation has to be less electronegative than each anion.")
    ] = False,
    method: Annotated[str, typer.Option("--method", help="exact, or metropolis_hastings.")] = "exact",
    steps: Annotated[int, typer.Option("--steps", help="Most steps of metropolis_hastings.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of metropolis_hastings.")] = 0,
    formula_column: FormulaColumn = None,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file to write.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """The nearest charge-neutral formula of any formulas or element fractions.

    Every row keeps its place: what cannot be repaired says why in `status` and `note`. What cannot be read makes the
    exit code 2; the others are repaired.

    Example: oreflow repair NaCl2 Li6PS5Cl2 Na0.48Cl0.52
    """
    from oreflow.agent.repair.repair import Settings, repair_formulas
    from oreflow.agent.tables.formulas import aligned, formulas_of, read_table, write_csv
    from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE

    if out is not None:
        may_write(out, overwrite)
    settings = Settings(
        nearest=nearest,  # type: ignore[arg-type]
        add=[name for text in add or [] for name in text.split(",") if name],
        keep_elements=keep_elements,
        max_atoms=max_atoms,
        max_changes=max_changes,
        table=oxidation_table or DEFAULT_TABLE,
        mixed_valence=mixed_valence,
        ordered=ordered,
        method=method,  # type: ignore[arg-type]
        steps=steps,
        seed=seed,
    )
    texts = list(formulas or [])
    if in_ is not None:
        texts += formulas_of(read_table(in_), str(in_), formula_column)
    if not texts:
        raise ValueError("expected formulas, or --in FILE with some; for example: oreflow repair NaCl2 Li6PS5Cl2")
    frame = repair_formulas(texts, settings)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_csv(frame, out)
    if as_json:
        print_json(frame.astype(object).where(frame.notna(), None).to_dict(orient="records"))
    elif not quiet:
        if out is None:
            shown = frame.drop(columns=["oxidation_table", "method"]).astype(object)
            shown = shown.where(shown.notna(), None)
            print(aligned([str(c) for c in shown.columns], [[_cell(v) for v in row] for row in shown.to_numpy()]))
        print(_summary(frame, texts) + (f"; written to {out}" if out is not None else ""))
    return BAD_INPUT if (frame["status"] == "unreadable").any() else DONE


def _summary(frame: Any, texts: list[str]) -> str:
    """Counts by status, in order of frequency, with the rule."""
    counts = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in frame["status"].value_counts().items())
    repeated = len(texts) - len(set(texts))
    again = f"; {repeated} repeat an earlier row" if repeated else ""
    rows = f"{len(texts)} row{'s' * (len(texts) > 1)}"
    return f"{rows}: {counts}{again}; neutrality by {frame['oxidation_table'].iloc[0]}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value + 0.0:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
