"""`oreflow score`: rewards of formulas and structures that the user has."""

import sys
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
    Plugins,
    Quiet,
    TableOption,
    load_plugins,
    may_write,
    print_json,
    verb,
)


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
    formula_column: FormulaColumn = None,
    oxidation_table: TableOption = None,
    mixed_valence: Mixed = False,
    plugin: Plugins = None,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file to write.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """The rewards' values for any formulas, or for the structures of --in.

    A formula that cannot be read keeps its row, says why in `note`, and makes the exit code 2; the others are scored.
    Structures that cannot be read are named on stderr.

    Example: oreflow score NaCl Fe3O4 NaN CsPbI3 H2O Og
    """
    from oreflow.agent.config.run import load_config, term_parameters
    from oreflow.agent.evaluation.scoring import score_crystals, score_formulas
    from oreflow.agent.tables.formulas import aligned, formulas_of, read_table, write_csv
    from oreflow.agent.tables.known_crystals import holds_crystals, read_crystals
    from oreflow.agent.training.build import make_reward
    from oreflow.agent.training.property_names import name_properties
    from oreflow.envs.objects.formulas import parse_formulas

    if out is not None:
        may_write(out, overwrite)
    load_plugins(plugin)
    texts = list(formulas or [])
    structures = in_ is not None and holds_crystals(in_)
    if structures and texts:
        raise ValueError(f"expected formulas, or structures with --in, got both: leave {texts[0]} or --in {in_} out")
    if in_ is not None and not structures:
        texts += formulas_of(read_table(in_), str(in_), formula_column)
    if not texts and not structures:
        raise ValueError("expected formulas, or --in FILE; for example: oreflow score NaCl Fe3O4")
    names = list(reward or [])
    params = term_parameters(param or [], names)
    whole = None
    if config is not None:
        if names or params:
            raise ValueError("expected --config, or --reward with --param, got both")
        whole = make_reward(name_properties(load_config(config)), str(config))
    rule: dict[str, Any] = {"table": oxidation_table, "mixed_valence": mixed_valence}
    if structures:
        assert in_ is not None
        crystals, labels, bad = read_crystals(in_, quiet or as_json)
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
