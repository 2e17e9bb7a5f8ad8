"""`oreflow fit-energy`: `oreflow fit` as it was called when it fitted formation energies alone."""

from typing import Annotated

import typer

from oreflow.agent.commands.common import AsJson, Quiet, Seed, verb
from oreflow.agent.commands.models.fit import (
    Beside,
    Cite,
    CompositionOnly,
    Data,
    Epochs,
    FormulasIn,
    IsFormationEnergy,
    MaxMinutes,
    Members,
    Out,
    Source,
    fit_and_tell,
    shared_options,
)


@verb
def fit_energy(
    data: Data,
    out: Out,
    column: Annotated[str, typer.Option(help="Target column: any property.")] = "formation_energy_per_atom",
    formula_column: FormulasIn = "formula",
    unit: Annotated[str | None, typer.Option(help="Unit of the target; eV/atom for formation energies.")] = None,
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
    """Fit a property ensemble to a CSV of formulas and values: formation energies, or any --column with its --unit.

    A CSV of structures gives a model of the formation energy of crystals, from space group and occupied positions.
    `oreflow fit` does the same for a property with a name.

    Example: oreflow fit-energy compositions.csv.gz --out models/mine
    """
    options = {
        "target_column": column,
        "formula_column": formula_column,
        "formation_energy": formation_energy,
        "unit": unit,
    }
    shared = shared_options(source, cite, members, epochs, max_minutes, seed)
    return fit_and_tell(data, out, options, shared, compositions, composition_only, quiet, as_json)
