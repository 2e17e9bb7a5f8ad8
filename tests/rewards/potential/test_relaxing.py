"""Relaxations with any potential: the ends are those of ASE's optimisers, in fewer energies."""

from typing import Any

import numpy as np
import pytest

from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.ase_calculator import AsePotential
from oreflow.rewards.potential.protocol import Card, cell_of
from oreflow.rewards.potential.relax import relax
from tests.rewards.potential.test_free_parameters import ANY, crystal


class Counting(AsePotential):
    """Counts the energies that it is asked for."""

    n = 0

    def _one(self, cell: Any, gradients: bool) -> Any:
        self.n += 1
        return super()._one(cell, gradients)


def copper_gold(a: float, c_over_a: float = 1.0) -> Any:
    from pymatgen.core import Lattice

    lattice = Lattice.tetragonal(a, a * c_over_a)
    return crystal("P4/mmm", lattice, ["Au", "Cu", "Cu"], [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]])


@pytest.mark.parametrize("held", [True, False])
def test_the_end_is_that_of_ase(held: bool) -> None:
    from ase.calculators.emt import EMT
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    start = copper_gold(4.1, 0.9)
    if not held:
        start.perturb(0.05, seed=3)
    potential = Counting(EMT(), ANY)
    ours = relax(potential, cell_of(start), hold_symmetry=held, fmax=0.005)
    assert (ours.status, ours.reason) == ("converged", "")
    assert ours.n_energies == potential.n
    atoms = AseAtomsAdaptor.get_atoms(start, msonable=False)
    atoms.calc = EMT()
    optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
    assert optimizer.run(fmax=0.005, steps=500)
    assert ours.energy_ev_per_atom == pytest.approx(atoms.get_potential_energy() / 4, abs=2e-4)
    assert abs(np.linalg.det(ours.vectors)) == pytest.approx(atoms.get_volume(), rel=0.005)
    assert ours.n_energies < optimizer.nsteps / 2
    assert ours.n_parameters == (2 if held else 15)
    assert ours.max_force_ev_per_a < 0.005


def test_a_conventional_cell_costs_what_its_primitive_one_does() -> None:
    from ase.calculators.emt import EMT
    from pymatgen.core import Lattice

    copper = crystal("Fm-3m", Lattice.cubic(3.9), ["Cu"], [[0, 0, 0]])
    end = relax(AsePotential(EMT(), ANY), cell_of(copper), hold_symmetry=True, fmax=0.01)
    assert end.n_parameters == 1
    assert end.vectors[0, 0] == pytest.approx(3.59, abs=0.02)  # EMT's copper; 3.61 in experiment
    np.testing.assert_allclose(end.vectors, end.vectors[0, 0] * np.eye(3), atol=1e-9)
    assert end.energy_ev_per_atom == pytest.approx(-0.006, abs=0.01)  # EMT's zero is the bulk metal


def test_ends_that_mean_nothing_are_said() -> None:
    from ase.calculators.emt import EMT
    from pymatgen.core import Lattice

    copper = crystal("Fm-3m", Lattice.cubic(2.4), ["Cu"], [[0, 0, 0]])
    few = relax(AsePotential(EMT(), ANY), cell_of(copper), hold_symmetry=True, fmax=1e-6, steps=1)
    assert (few.status, few.n_steps) == ("not_converged", 1)
    scale = Card("test", "", "", "included", "", "", ANY.elements)  # of energies that free atoms have as their zero
    above = relax(AsePotential(EMT(), scale), cell_of(copper), hold_symmetry=True, fmax=1e-6, steps=1)
    assert above.status == "unphysical"
    assert "is above that of free atoms" in above.reason
    only_copper = Card("test", "", "", "none", "", "", frozenset({29}))
    with pytest.raises(PotentialError, match="knows Cu, not Au"):
        relax(AsePotential(EMT(), only_copper), cell_of(copper_gold(4.0)), hold_symmetry=True)
    with pytest.raises(PotentialError, match="test: "):  # what the calculator says
        relax(
            AsePotential(EMT(), ANY),
            cell_of(crystal("Fm-3m", Lattice.cubic(5), ["U"], [[0, 0, 0]])),
            hold_symmetry=True,
        )
