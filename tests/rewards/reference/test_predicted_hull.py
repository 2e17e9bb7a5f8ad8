"""The hull that ships: its phases are those that pymatgen finds among the same predictions, and lists can join it."""

import itertools
import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.errors import ReferenceTableError
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.predicted_hull import (
    SHIFTS_FILE,
    STEP_EV_PER_ATOM,
    hull_reference,
    joined,
    predicted_hull,
)
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance
from tests.rewards.reference.test_convex_hull import batch_of

SHIFTS = Path(str(files("oreflow.rewards").joinpath(SHIFTS_FILE)))


def within(system: tuple[str, ...]) -> set[str]:
    """Reduced formulas of the file within a chemical system."""
    zs = {0} | {Composition(symbol).elements[0].Z for symbol in system}
    compositions = predicted_hull().compositions
    inside = np.isin(compositions.atomic_numbers, list(zs)).all(axis=1)
    return {Composition(formula).reduced_formula for formula in compositions[inside].formulas()}


@pytest.mark.parametrize("system", [("Li", "Fe", "O"), ("Na", "Al", "Cl"), ("Ba", "Ti", "S"), ("Cu", "Zn", "Sn")])
def test_its_phases_are_the_stable_ones_among_the_predictions(system: tuple[str, ...]) -> None:
    formulas = []
    for pair in itertools.combinations(system, 2):
        for m, n in itertools.product(range(1, 12), repeat=2):
            if math.gcd(m, n) == 1 and m + n <= 12:
                formulas.append(f"{pair[0]}{m}{pair[1]}{n}")
    ternary = [
        "".join(f"{symbol}{n}" for symbol, n in zip(system, counts))
        for counts in itertools.product(range(1, 15), repeat=3)
        if math.gcd(*counts) == 1 and sum(counts) <= 16
    ]
    charges = ChargeBalance()(parse_formulas(ternary)[0])
    neutral = charges.valid & (charges.values == 0)
    formulas += [formula for formula, is_neutral in zip(ternary, neutral.tolist()) if is_neutral]
    energies = EnergyModel.load(DEFAULT_MODEL).predict(parse_formulas(formulas)[0]).mean
    entries = [PDEntry(symbol, 0.0) for symbol in system]
    entries += [PDEntry(f, e * Composition(f).num_atoms) for f, e in zip(formulas, energies.tolist())]
    stable = {entry.composition.reduced_formula for entry in PhaseDiagram(entries).stable_entries}
    assert within(system) == stable - {Composition(symbol).reduced_formula for symbol in system}
    assert len(stable) > 5


def test_its_energies_are_those_of_the_model() -> None:
    reference = predicted_hull()
    rows = np.random.default_rng(0).integers(len(reference), size=300)
    expected = EnergyModel.load(DEFAULT_MODEL).predict(reference.compositions[rows]).mean
    np.testing.assert_allclose(reference.energies[rows], expected, atol=STEP_EV_PER_ATOM / 2 + 1e-5)


def test_nothing_that_is_listed_lies_above_the_hull() -> None:
    reference = predicted_hull()
    hull = CompetingPhases(reference).hull(reference.compositions)
    assert (reference.energies - hull.energies).max() < 2 * STEP_EV_PER_ATOM
    assert len(set(reference.compositions.key_bytes())) == len(reference)


def test_the_term_takes_it_without_a_file() -> None:
    term = make_term("energy_above_hull", {})
    result = term(batch_of("SrTiO3", "NaCl3", "Li6PS5Cl"))
    assert result.valid.all()
    assert result.values[0] == pytest.approx(0.0, abs=STEP_EV_PER_ATOM)  # on the hull of the model's own predictions
    assert result.values[1] > 0.05


def test_a_list_gives_the_energies_of_the_formulas_that_it_holds(tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text("formula,formation_energy_per_atom\nNaCl,-9\nNa5Cl3O,-0.1\n")
    both = hull_reference([known, "predicted"])
    found = dict(zip(both.compositions.key_bytes(), both.energies.tolist()))
    assert len(found) == len(both) == len(predicted_hull()) + 1
    assert found[batch_of("NaCl").key_bytes()[0]] == -9
    assert hull_reference(["predicted", known]).energies.min() > -9
    assert both.sha256 != joined([predicted_hull()]).sha256
    term = make_term("energy_above_hull", {"reference": [str(known), "predicted"]})
    assert term(batch_of("NaCl")).values[0] > 6


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(ReferenceTableError, match="give a file of known compounds, or predicted"):
        hull_reference([])


def test_energies_of_crystals_are_shifted_by_element() -> None:
    of_formulas, of_crystals = predicted_hull(), predicted_hull(of_crystals=True)
    rows = SHIFTS.read_text().splitlines()[1:]
    shift = {symbol: float(text) for symbol, text in (row.split(",") for row in rows)}
    moved = of_crystals.energies - of_formulas.energies
    row = of_formulas.compositions.key_bytes().index(batch_of("MgO").key_bytes()[0])
    assert moved[row] == pytest.approx((shift["Mg"] + shift["O"]) / 2)
    assert abs(moved[row]) > 0.01
    assert of_crystals.sha256 != of_formulas.sha256
