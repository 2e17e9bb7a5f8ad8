"""`oreflow rewards`: what a reward store holds, as a table, and values from elsewhere into it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import (
    BAD_INPUT,
    DONE,
    AsJson,
    FormulaColumn,
    Overwrite,
    Plugins,
    Quiet,
    load_plugins,
    may_write,
    print_json,
    verb,
)

app = typer.Typer(
    help="List, export, import or forget the values of a reward store. Example: oreflow rewards list rewards.db",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Store = Annotated[str, typer.Argument(help="A reward store: path of its file, or URL.", metavar="STORE")]
Names = Annotated[
    list[str] | None, typer.Option("--reward", help="Only values of this reward; repeatable; by default all.")
]


@app.command("list")
@verb
def list_(store: Store, quiet: Quiet = False, as_json: AsJson = False) -> int:
    """What a store holds: rewards with version and parameters, how many values, what they took.

    Example: oreflow rewards list rewards.db
    """
    from oreflow.agent.tables.formulas import aligned
    from oreflow.rewards.store.store import RewardStore

    opened = RewardStore(store, create=False)
    listed = opened.listing()
    if as_json:
        print_json({"store": opened.name, "rewards": [{k: v for k, v in row.items() if k != "id"} for row in listed]})
    elif not quiet:
        header = ["reward", "version", "values", "valid", "failed", "under way", "hours", "cost", "parameters"]
        print(aligned(header, [_row(row) for row in listed]) if listed else f"{opened.name} holds no values yet")
    opened.close()
    return DONE


@app.command("export")
@verb
def export(
    store: Store,
    out: Annotated[Path, typer.Option("--out", help="Table to write: .csv or .parquet.")],
    reward: Names = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Write stored values as a table, one row a value; `oreflow rewards import` reads it.

    Example: oreflow rewards export rewards.db --out rewards.csv
    """
    from oreflow.agent.storage.scratch import writing_to
    from oreflow.agent.tables.formulas import write_csv, write_parquet
    from oreflow.agent.tables.stored_rewards import stored_table
    from oreflow.rewards.store.store import RewardStore

    if out.suffix not in (".csv", ".parquet"):
        raise ValueError(f"--out: expected a name that ends in .csv or .parquet, got {out}")
    may_write(out, overwrite)
    opened = RewardStore(store, create=False)
    frame = stored_table(opened, reward or [])
    opened.close()
    with writing_to(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        (write_csv if out.suffix == ".csv" else write_parquet)(frame, out)
    _said({"values": len(frame), "table": str(out)}, f"{len(frame)} values written to {out}", quiet, as_json)
    return DONE


@app.command("import")
@verb
def import_(
    store: Store,
    table: Annotated[Path, typer.Argument(help="A table of values, or one that `oreflow rewards export` wrote.")],
    reward: Annotated[
        str | None, typer.Option("--reward", help="Reward that the values are of; an exported table says it itself.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="Parameter of the reward: NAME.KEY=VALUE; repeatable.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the reward that the values are of; refused where it is another.")
    ] = None,
    value_column: Annotated[
        str, typer.Option("--value-column", help="Column of the values, in the reward's unit.")
    ] = "value",
    cost_column: Annotated[
        str | None, typer.Option("--cost-column", help="Column of what each value has cost.")
    ] = None,
    formula_column: FormulaColumn = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put values in the place of those that are there; by default those stay.")
    ] = False,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Take values into a store: of a table with formulas or structures, or of another store's export.

    Values are entered under the reward's version and parameters as it is installed here. Rows that cannot be read are
    named, and make the exit code 2; the others are taken in.

    Example: oreflow rewards import rewards.db measured.csv --reward formation_energy --value-column e_form
    """
    from oreflow.agent.tables.formulas import read_table
    from oreflow.agent.tables.stored_rewards import exported_values, is_exported
    from oreflow.rewards.store.store import RewardStore

    load_plugins(plugin)
    frame = read_table(table)
    if is_exported(frame) and reward is None:
        found = exported_values(frame, str(table))
    else:
        found = _own(frame, table, reward, param or [], version, value_column, cost_column, formula_column)
    opened = RewardStore(store)
    n, n_new = 0, 0
    for identity, entries in found.entries.items():
        term = opened.enter_term(identity, *found.terms[identity])
        n_new += opened.record(term, entries, replace=replace)
        n += len(entries)
    opened.close()
    for note in found.notes[:5]:
        print(f"oreflow: {table}: {note}", file=sys.stderr)
    kept = "" if n_new == n else f"; {n - n_new} were there already and stay (--replace takes the table's)"
    figures = {"values": n, "new": n_new, "notes": found.notes}
    _said(figures, f"{n_new} values taken into {opened.name}{kept}", quiet, as_json)
    return BAD_INPUT if found.notes else DONE


@app.command("forget")
@verb
def forget(
    store: Store,
    reward: Annotated[str, typer.Option("--reward", help="Reward whose values are removed.")],
    version: Annotated[str | None, typer.Option(help="Only of this version.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that raised, crashed or hung.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Remove values, so that they are computed again.

    Example: oreflow rewards forget rewards.db --reward my_dft --failed
    """
    from oreflow.envs.errors import TableError
    from oreflow.envs.suggestions import nearest
    from oreflow.rewards.store.store import RewardStore

    opened = RewardStore(store, create=False)
    listed = opened.listing()
    if reward not in {row["name"] for row in listed}:
        raise TableError(
            f"{opened.name} holds no values of {reward!r}; {nearest(reward, [str(r['name']) for r in listed])}"
        )
    meant = [row for row in listed if row["name"] == reward and version in (None, row["version"])]
    n = sum(opened.forget(str(row["id"]), failed_only=failed) for row in meant)
    opened.close()
    _said({"removed": n}, f"{n} values of {reward} removed from {opened.name}", quiet, as_json)
    return DONE


def _own(
    frame: Any,
    table: Path,
    reward: str | None,
    param: list[str],
    version: str | None,
    value_column: str,
    cost_column: str | None,
    formula_column: str | None,
) -> Any:
    """Values of a table of the user's own, of one reward."""
    from oreflow.agent.config.run import term_parameters
    from oreflow.agent.errors import ConfigError
    from oreflow.agent.tables.stored_rewards import own_values
    from oreflow.rewards.contract.term import as_term
    from oreflow.rewards.registry import check_parameters, make_term
    from oreflow.rewards.store.identity import identity_of
    from oreflow.rewards.store.owner import this_process

    if reward is None:
        raise ConfigError(f"{table} does not say which reward its values are of; add --reward NAME")
    params = term_parameters(param, [reward]).get(reward, {})
    check_parameters(reward, params)
    term = as_term(make_term(reward, params))
    if version is not None and version != term.version:
        raise ConfigError(
            f"--version: {reward} has version {term.version!r} here, got values of {version!r}, which nobody would "
            "find; install that version, or leave --version out if they are the same"
        )
    return own_values(
        frame,
        str(table),
        term,
        identity_of(reward, params, term),
        value_column=value_column,
        cost_column=cost_column,
        formula_column=formula_column,
        by=this_process().name,
    )


def _row(row: dict[str, Any]) -> list[str]:
    hours = "" if row["seconds"] is None else f"{row['seconds'] / 3600:.3g}"
    cost = "" if row["cost"] is None else f"{row['cost']:g}"
    counts = [str(row[name] or 0) for name in ("n_values", "n_valid", "n_failed", "n_under_way")]
    return [row["name"], row["version"], *counts, hours, cost, row["parameters"]]


def _said(figures: dict[str, Any], text: str, quiet: bool, as_json: bool) -> None:
    if as_json:
        print_json(figures)
    elif not quiet:
        print(text)
