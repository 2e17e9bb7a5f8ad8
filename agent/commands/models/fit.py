"""`oreflow fit`: fits a model of any property to a table of formulas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import DONE, AsJson, Quiet, Seed, print_json, verb

Data = Annotated[
    Path, typer.Argument(help="CSV of formulas, or of structures (columns lattice, sites); .gz, .bz2, .xz too.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for weights and model card.")]
FormulasIn = Annotated[str, typer.Option("--formula-column", help="Formula column.")]
IsFormationEnergy = Annotated[
    bool | None,
    typer.Option(
        "--formation-energy/--no-formation-energy",
        help="Pure elements are 0, the lowest of several values counts. By default: if the column is so.",
    ),
]
Beside = Annotated[
    Path | None,
    typer.Option("--compositions", help="With structures: a CSV of formulas and ground-state energies beside it."),
]
CompositionOnly = Annotated[
    bool, typer.Option("--composition-only", help="Fit formulas, though the table holds structures.")
]
Source = Annotated[str, typer.Option("--source", help="Origin and licence of the data, a sentence for the model card.")]
Cite = Annotated[list[str] | None, typer.Option("--cite", help="Work to cite with the predictions; repeatable.")]
Members = Annotated[int | None, typer.Option("--members", min=1, help="Members of the ensemble.")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the training rows.")]
MaxMinutes = Annotated[float | None, typer.Option("--max-minutes", min=0.05, help="Stop training after so long.")]

_STAGES = {"read": "read the table; fit", "fit": "fit", "test": "measure; fit"}
_NO_FIGURES = ("done", "total", "fraction_done")


@verb
def fit(
    data: Data,
    property_: Annotated[
        str, typer.Option("--property", help="What the values are; tables get a column of this name and unit.")
    ],
    out: Out,
    unit: Annotated[
        str | None, typer.Option(help="Unit of the property, such as eV, K or GPa; 1 for a number without a unit.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the values, where it has another name.")] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A smaller model in about two minutes: is the table worth more?"),
    ] = False,
    from_pretrained: Annotated[
        bool,
        typer.Option(
            "--from-pretrained",
            help="Start from the shipped formation-energy model: for few rows of a property akin to it.",
        ),
    ] = False,
    formula_column: FormulasIn = "formula",
    formation_energy: IsFormationEnergy = None,
    compositions: Beside = None,
    composition_only: CompositionOnly = False,
    source: Source = "",
    cite: Cite = None,
    members: Members = None,
    epochs: Epochs = None,
    max_minutes: MaxMinutes = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Fit a model of any numeric property to a CSV of formulas and values; the reward predicted_property then uses it.

    The model card has the errors on rows that were not fitted, beside those of the mean and of the nearest formula.

    Example: oreflow fit gaps.csv --property band_gap --unit eV --out models/gaps
    """
    options = {
        "property_name": property_,
        "target_column": column or property_,
        "quick": quick,
        "from_pretrained": from_pretrained,
        "unit": unit,
        "formula_column": formula_column,
        "formation_energy": formation_energy,
    }
    shared = shared_options(source, cite, members, epochs, max_minutes, seed)
    return fit_and_tell(data, out, options, shared, compositions, composition_only, quiet, as_json)


def shared_options(
    source: str,
    cite: Sequence[str] | None,
    members: int | None,
    epochs: int | None,
    max_minutes: float | None,
    seed: int | None,
) -> dict[str, Any]:
    """Give what models of formulas and of crystals both take; what was not given keeps the fit's default."""
    given = {"n_members": members, "n_epochs": epochs, "max_minutes": max_minutes}
    options: dict[str, Any] = {"seed": seed or 0, "data_source": source, "citations": tuple(cite or ())}
    return options | {name: value for name, value in given.items() if value is not None}


def fit_and_tell(
    data: Path,
    out: Path,
    options: dict[str, Any],
    shared: dict[str, Any],
    compositions: Path | None,
    composition_only: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Fit a model of formulas, or of crystals where the table holds structures, with progress; say what came out.

    Args:
        options: what models of formulas take.
        shared: what models of crystals take as well.

    Raises:
        EnergyDataError: for options that do not fit the table, and for a table that cannot be used.
        FitOutputError: when the folder cannot be written.
    """
    from oreflow.agent.runtime.progress import Progress
    from oreflow.rewards.models.composition.fit import fit_energy as fit_model
    from oreflow.rewards.models.crystal.data import has_structures
    from oreflow.rewards.models.ensemble.folder import FORMATION_ENERGY_COLUMN, FORMATION_ENERGY_UNIT
    from oreflow.rewards.models.ensemble.tables import EnergyDataError

    if not composition_only and has_structures(data):
        from oreflow.rewards.models.crystal.fit import fit_crystal_energy as fit_model  # type: ignore[assignment]

        named = options.get("property_name")
        is_energy = options["formation_energy"]
        if is_energy is None:
            is_energy = named is None or FORMATION_ENERGY_COLUMN in (named, options["target_column"])
        if options["unit"] not in (None, FORMATION_ENERGY_UNIT) or not is_energy:
            raise EnergyDataError(
                f"expected formation energies in {FORMATION_ENERGY_UNIT} of the structures in {data}, got another "
                "property; add --composition-only to fit it to the formulas alone"
            )
        for option in ("quick", "from_pretrained"):
            if options.get(option):
                raise EnergyDataError(
                    f"expected formulas for --{option.replace('_', '-')}, got structures in {data}: add "
                    "--composition-only to fit the formulas alone, or leave the option out; --members, --epochs and "
                    "--max-minutes shorten the fit of structures, too"
                )
        options = {"target_column": options["target_column"], "compositions_path": compositions}
    elif compositions is not None:
        raise EnergyDataError(
            f"expected structures (columns lattice and sites) beside --compositions, got formulas alone in {data}: "
            "give the structures as DATA, or leave --compositions out"
        )
    with Progress("fit", 1, quiet) as progress:

        def show(event: dict[str, Any]) -> None:
            progress.label = _STAGES[event["stage"]]
            figures = {k: v for k, v in event.items() if isinstance(v, int | float) and k not in _NO_FIGURES}
            progress.total = int(event.get("total", 1))
            progress.update(int(event.get("done", 0)), **figures)

        card = fit_model(data, out, progress=show, **options, **shared)
    if as_json:
        print_json(card)
    elif not quiet:
        for line in _fit_summary(card, out):
            print(line)
    return DONE


def _fit_summary(card: dict[str, Any], out: Path) -> list[str]:
    """What was fitted, what of the table was not used, and the errors on rows that were not fitted."""
    target, data, epochs = card["target"], card["data"], card["fit"]
    unit = f" {target['unit']}" if target["unit"] else ""
    repeated = ""
    if "duplicate_rows" in data:  # of structures each is a row, however many have one formula
        repeated = f"{data['duplicate_rows']} repeated a formula ({data['duplicates_kept']} value kept), "
    quick = ", a quick fit," if epochs.get("quick") else ""
    lines = [
        f"model of {target['name']}{quick} written to {out}",
        f"  rows used                 {data['rows_used']} of {data['rows_read']}; {repeated}"
        f"{data['pure_element_rows']} pure elements",
        f"  rows that cannot be used  {data['bad_rows']}",
    ]
    lines += [f"    line {bad['line']}: {bad['reason']}" for bad in data["bad_rows_first"][:5]]
    cut = "; the time limit cut the rest short: --max-minutes" if epochs["shortened_by_time_limit"] else ""
    lines.append(f"  epochs                    {epochs['epochs_run']}, the best was {epochs['best_epoch']}{cut}")
    for name, text in (("test", "random formulas"), ("test_chemsys", "new chemical systems")):
        m = card["metrics"][name]
        figures = "too few rows"
        if m["mae"] is not None:
            r2 = "" if m["r2"] is None else f", R2 {m['r2']:.3f}"
            figures = f"{m['mae']:.4g}{unit}{r2}, {100 * m['coverage_90']:.1f} % within mean ± 1.645 std"
        lines.append(f"  {'MAE, ' + text:25s} {figures} ({m['n']} rows)")
        trivial = card.get("baselines", {}).get(name, {})
        for key, answer in (("mean", "the mean"), ("nearest", "the nearest formula")):
            if trivial.get(key, {}).get("mae") is not None:
                lines.append(f"    {'by ' + answer:23s} {trivial[key]['mae']:.4g}{unit}")
    return [*lines, f"  weights                   SHA-256 {card['weights_sha256']}"]
