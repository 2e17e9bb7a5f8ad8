"""`oreflow fit-energy`: fits a model to a table of formulas or of structures."""

from pathlib import Path
from typing import Annotated, Any

import typer

from oreflow.agent.commands.common import DONE, AsJson, Quiet, Seed, print_json, verb


@verb
def fit_energy(
    data: Annotated[Path, typer.Argument(help="CSV of formulas, or of structures (columns lattice, sites); .gz too.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for weights and model card.")],
    column: Annotated[str, typer.Option(help="Target column: any property.")] = "formation_energy_per_atom",
    formula_column: Annotated[str, typer.Option(help="Formula column.")] = "formula",
    unit: Annotated[str | None, typer.Option(help="Unit of the target; eV/atom for formation energies.")] = None,
    formation_energy: Annotated[
        bool | None,
        typer.Option(help="Pure elements are 0, the lowest of several values counts. By default: if the column is so."),
    ] = None,
    compositions: Annotated[
        Path | None, typer.Option(help="With structures: a CSV of formulas and their ground-state energies beside it.")
    ] = None,
    composition_only: Annotated[
        bool, typer.Option("--composition-only", help="Fit formulas, though the table holds structures.")
    ] = False,
    source: Annotated[str, typer.Option(help="Origin and licence of the data, a sentence for the model card.")] = "",
    cite: Annotated[list[str] | None, typer.Option(help="Work to cite with the predictions; repeatable.")] = None,
    members: Annotated[int | None, typer.Option(min=1, help="Members of the ensemble.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training rows.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.05, help="Stop training after so long.")] = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Fit a property ensemble to a CSV of formulas and values: formation energies, or any --column with its --unit.

    A CSV of structures gives a model of the formation energy of crystals, from space group and occupied positions.

    Example: oreflow fit-energy compositions.csv.gz --out models/mine
    """
    from oreflow.agent.runtime.progress import Progress
    from oreflow.rewards.models.composition.fit import fit_energy as fit
    from oreflow.rewards.models.crystal.data import has_structures
    from oreflow.rewards.models.ensemble.folder import FORMATION_ENERGY_UNIT
    from oreflow.rewards.models.ensemble.tables import EnergyDataError

    options: dict[str, Any] = {"target_column": column, "seed": seed or 0}
    options |= {"data_source": source, "citations": tuple(cite or ())}
    if not composition_only and has_structures(data):
        from oreflow.rewards.models.crystal.fit import fit_crystal_energy as fit  # type: ignore[assignment]

        if unit not in (None, FORMATION_ENERGY_UNIT) or formation_energy is False:
            raise EnergyDataError(
                f"expected formation energies in {FORMATION_ENERGY_UNIT} of the structures in {data}, got another "
                "property; add --composition-only to fit it to the formulas alone"
            )
        options |= {"compositions_path": compositions}
    elif compositions is not None:
        raise EnergyDataError(
            f"expected structures (columns lattice and sites) beside --compositions, got formulas alone in {data}: "
            "give the structures as DATA, or leave --compositions out"
        )
    else:
        options |= {"formula_column": formula_column, "formation_energy": formation_energy, "unit": unit}
    given = {"n_members": members, "n_epochs": epochs, "max_minutes": max_minutes}
    options |= {name: value for name, value in given.items() if value is not None}
    with Progress("fit", 1, quiet) as progress:

        def show(event: dict[str, Any]) -> None:
            figures = {k: v for k, v in event.items() if isinstance(v, int | float) and k not in ("done", "total")}
            progress.total = int(event.get("total", 1))
            progress.update(int(event.get("done", 0)), **figures)

        card = fit(data, out, progress=show, **options)
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
    lines = [
        f"model of {target['name']} written to {out}",
        f"  rows used                 {data['rows_used']} of {data['rows_read']}; {repeated}"
        f"{data['pure_element_rows']} pure elements",
        f"  rows that cannot be used  {data['bad_rows']}",
    ]
    lines += [f"    line {bad['line']}: {bad['reason']}" for bad in data["bad_rows_first"][:5]]
    lines.append(f"  epochs                    {epochs['epochs_run']}, the best was {epochs['best_epoch']}")
    for name, text in (("test", "random formulas"), ("test_chemsys", "new chemical systems")):
        m = card["metrics"][name]
        figures = "too few rows"
        if m["mae"] is not None:
            figures = f"{m['mae']:.4g}{unit}, {100 * m['coverage_90']:.1f} % within mean ± 1.645 std"
        lines.append(f"  {'MAE, ' + text:25s} {figures} ({m['n']} rows)")
    return [*lines, f"  weights                   SHA-256 {card['weights_sha256']}"]
