"""The term `crystal_energy_above_hull`: the crystal model against a hull, aligned where the scales differ."""

from pathlib import Path

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from oreflow.rewards.check import check_reward_term
from oreflow.rewards.errors import ReferenceTableError, RewardParameterError
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.energy.crystal_energy_above_hull import CrystalEnergyAboveHull
from oreflow.rewards.terms.energy.crystal_formation_energy import CrystalFormationEnergy
from tests.support.crystal_energies import decorations

ENERGIES = {"NaCl": -2.1, "Fe2O3": -1.7, "FeO": -1.5, "SrO": -3.0, "TiO2": -3.4, "Na2O": -1.4, "FeCl2": -1.2}
CRYSTALS = decorations(
    (225, "Na a, Cl b"), (221, "Na a, Cl b"), (221, "Sr a, Ti b, O c"), (227, "Fe a, Fe d, O e"), (225, "Na a")
)


def table(path: Path, energies: dict[str, float]) -> str:
    path.write_text("formula,formation_energy_per_atom\n" + "".join(f"{f},{e}\n" for f, e in energies.items()))
    return str(path)


def test_it_is_the_models_energy_minus_pymatgens_hull(tmp_path: Path) -> None:
    reference = table(tmp_path / "known.csv", ENERGIES)
    term = make_term("crystal_energy_above_hull", {"reference": reference, "std_weight": 1.5})
    result, energy = term(CRYSTALS), CrystalFormationEnergy()(CRYSTALS)
    entries = [PDEntry(Composition(f), e * Composition(f).num_atoms) for f, e in ENERGIES.items()]
    entries += [PDEntry(Composition(symbol), 0.0) for symbol in ("Na", "Cl", "Fe", "O", "Sr", "Ti")]
    diagram = PhaseDiagram(entries)
    hull = [diagram.get_hull_energy_per_atom(Composition(f)) for f in ("NaCl", "NaCl", "SrTiO3", "Fe3O4")]
    std = energy.columns["crystal_formation_energy_std"]
    np.testing.assert_allclose(result.values[:4], (energy.values + 1.5 * std)[:4] - hull, atol=1e-9)
    np.testing.assert_allclose(result.columns["crystal_energy_above_hull_std"], std)
    assert result.values[1] > result.values[0] + 0.05  # the structure of caesium chloride is not that of rock salt
    assert result.columns["decomposition"].tolist()[2] == "0.6 TiO2 + 0.4 SrO"
    assert result.valid.tolist() == [True, True, True, True, False]
    assert "pure element" in result.reasons[4]
    check_reward_term(term)


def test_a_reference_on_another_scale_is_aligned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    more = {f"{m}{x}": -1.0 - 0.1 * i for i, m in enumerate(("Li", "K", "Rb", "Cs")) for x in ("F", "Br", "I")}
    ours = ENERGIES | more
    other = {f: e + 0.3 * Composition(f).get_atomic_fraction("O") for f, e in ours.items()}
    onto = table(tmp_path / "onto.csv", {f: e for f, e in ours.items() if f != "SrO"})
    caplog.set_level("INFO")
    plain = CrystalEnergyAboveHull(table(tmp_path / "ours.csv", ours))
    shifted = CrystalEnergyAboveHull(table(tmp_path / "other.csv", other), aligned_by=onto)
    wrong = CrystalEnergyAboveHull(str(tmp_path / "other.csv"))
    assert "other.csv aligned to onto.csv" in caplog.text
    assert "eV/atom, held out" in caplog.text
    right = plain(CRYSTALS).values[:4]
    np.testing.assert_allclose(shifted(CRYSTALS).values[:4], right, atol=0.02)
    assert abs(wrong(CRYSTALS).values[2] - right[2]) > 0.1
    assert shifted.version != wrong.version
    with pytest.raises(ReferenceTableError, match=r"expected at most 0\.0001"):
        CrystalEnergyAboveHull(str(tmp_path / "other.csv"), aligned_by=onto, max_residual=0.0001)


def test_bad_parameters(tmp_path: Path) -> None:
    reference = table(tmp_path / "known.csv", ENERGIES)
    for params in ({"std_weight": "1"}, {"same_formula": "both"}, {"holes": "no"}, {"max_residual": True}):
        with pytest.raises(RewardParameterError, match=next(iter(params))):
            CrystalEnergyAboveHull(reference, **params)  # type: ignore[arg-type]
    with pytest.raises(ReferenceTableError, match="expected at least 10 compounds in both"):
        CrystalEnergyAboveHull(reference, aligned_by=reference)
