"""The reward `chgnet_energy`: against experiment, alone and in batches, here and in a process of its own."""

import sys
from pathlib import Path

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.rewards import registry
from oreflow.rewards.errors import MissingPackageError, RewardParameterError
from oreflow.rewards.potential.chgnet import Chgnet
from oreflow.rewards.potential.protocol import energies_per_atom
from oreflow.rewards.potential.references import shipped_references
from oreflow.rewards.terms.energy.chgnet_energy import ChgnetEnergy
from tests.support.small_crystals import rock_salt, salt_crystals

EV_PER_KJ_PER_MOL = 1 / 96.485


@pytest.fixture(scope="module")
def potential() -> Chgnet:
    return Chgnet()


def test_the_reward_gives_formation_energies_and_energies_above_a_hull(tmp_path: Path, potential: Chgnet) -> None:
    from pymatgen.core import Lattice, Structure

    magnesia = rock_salt(4.21, "Mg")
    magnesia.replace(1, "O")
    batch = (rock_salt(5.64), Structure(Lattice.cubic(3.5), ["Am"], [[0, 0, 0]]), magnesia)
    term = registry.make_term("chgnet_energy")
    assert (term.requires, term.unit, term.batch_type) == ("structure", "eV/atom", "pymatgen")  # type: ignore[attr-defined]
    found = term(batch)
    assert found.valid.tolist() == [True, False, True]
    assert found.reasons == {1: "chgnet knows the elements H to Pu, not Am"}
    # -411.12 and -601.60 kJ/mol (CRC Handbook of Chemistry and Physics).
    wanted = np.array([-411.12, -601.60]) * EV_PER_KJ_PER_MOL / 2
    np.testing.assert_allclose(found.values[[0, 2]], wanted, atol=0.12)
    np.testing.assert_allclose(
        found.columns["chgnet_total_energy_ev_per_atom"][0], energies_per_atom(potential, batch[:1]), atol=1e-5
    )
    alone = [float(term((structure,)).values[0]) for structure in batch]
    np.testing.assert_allclose(alone, found.values, atol=1e-5)
    doubled = batch[0].copy()
    doubled.make_supercell([2, 1, 1])
    assert float(term((doubled,)).values[0]) == pytest.approx(alone[0], abs=1e-4)

    known = tmp_path / "known.csv"
    known.write_text("formula,formation_energy_per_atom\nNaCl,-2.0\n")
    above = ChgnetEnergy(reference=known)(batch[:1])
    assert above.values[0] == pytest.approx(found.values[0] + 2.0, abs=1e-6)
    assert above.columns["chgnet_decomposition"].tolist() == ["1 NaCl"]
    squeezed = ChgnetEnergy(relax=True, reference=known)((rock_salt(5.3), batch[1]))
    assert squeezed.valid.tolist() == [True, False]
    assert squeezed.values[0] == pytest.approx(above.values[0], abs=0.01)
    assert squeezed.columns["chgnet_converged"].tolist() == [True, False]
    change = float(squeezed.columns["chgnet_volume_change"][0])
    assert 5.3 * (1 + change) ** (1 / 3) == pytest.approx(5.64, rel=0.02)
    with pytest.raises(RewardParameterError, match="fmax above 0"):
        ChgnetEnergy(fmax=-1)


def test_the_missing_package_is_said_by_the_reward_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chgnet", None)
    with pytest.raises(MissingPackageError, match="reward 'chgnet_energy' needs CHGNet"):
        registry.make_term("chgnet_energy")


def test_reference_energies_cover_the_elements_of_the_materials_project() -> None:
    energies = shipped_references().energies_ev_per_atom
    known = {z for z in range(1, 119) if np.isfinite(energies[z])}
    assert known >= set(range(1, 95)) - {10, 84, 85, 86, 87, 88}
    # Energies of the elements' PBE ground states, as the Materials Project gives them (mp-127, mp-13, mp-149, mp-23).
    for symbol, energy in (("Na", -1.31), ("Fe", -8.47), ("Si", -5.42), ("Ni", -5.78)):
        assert energies[atomic_number(symbol)] == pytest.approx(energy, abs=0.15)


def test_the_reward_is_isolated_with_crystals() -> None:
    """A config's `isolated: true`: the term in a process of its own, asked about the environment's own batches."""
    from oreflow.rewards.contract.evaluation import evaluate_term
    from oreflow.rewards.isolation.term import IsolatedTerm

    crystals = salt_crystals()
    here = evaluate_term(registry.make_term("chgnet_energy"), crystals)
    isolated = IsolatedTerm("chgnet_energy", {}, time_limit_s=120.0)
    try:
        there = evaluate_term(isolated, crystals)
    finally:
        isolated.close()
    assert here.valid.tolist() == there.valid.tolist() == [True, True]
    np.testing.assert_allclose(here.values, there.values, atol=1e-5)
    np.testing.assert_allclose(here.values, np.array([-411.12, -601.60]) * EV_PER_KJ_PER_MOL / 2, atol=0.12)
