"""CHGNet by our graphs: the numbers of chgnet's own calculator."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.chgnet import Chgnet
from oreflow.rewards.potential.protocol import cell_of, energies_per_atom
from tests.rewards.potential.test_free_parameters import crystal, crystals

EV_PER_A3 = 160.21766208  # GPa


@pytest.fixture(scope="module")
def potential() -> Chgnet:
    return Chgnet()


def odd_ones() -> list[Any]:
    """One atom whose neighbours are its own images; a loose crystal without short bonds; one without symmetry."""
    from pymatgen.core import Lattice

    loose = crystal("Fm-3m", Lattice.cubic(7.4), ["Cs", "I"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    shaken = crystals()[4][0]
    shaken.perturb(0.15, seed=1)
    return [crystal("Im-3m", Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]]).get_primitive_structure(), loose, shaken]


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")  # of theirs
@pytest.mark.parametrize("version", ["0.3.0", "0.2.0"])
def test_numbers_are_those_of_chgnet(version: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        from chgnet.model.model import CHGNet

        theirs = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
    structures = [structure for structure, _, _ in crystals()[:3]] + odd_ones()
    found = Chgnet(version).evaluate([cell_of(structure) for structure in structures])
    for structure, ours in zip(structures, found):
        wanted = theirs.predict_structure(structure, task="efs")
        assert ours.energy / len(structure) == pytest.approx(float(wanted["e"]), abs=5e-6)
        np.testing.assert_allclose(ours.forces, wanted["f"], atol=2e-4)
        np.testing.assert_allclose(ours.stress, wanted["s"] / EV_PER_A3, atol=2e-5)
    assert np.abs(found[-1].forces).max() > 1.0  # type: ignore[arg-type]


def test_energies_alone_are_the_same_and_in_order(potential: Chgnet) -> None:
    structures = [structure for structure, _, _ in crystals()] + odd_ones()
    found = potential.evaluate([cell_of(structure) for structure in structures])
    wanted = [one.energy / len(structure) for one, structure in zip(found, structures)]
    np.testing.assert_allclose(energies_per_atom(potential, structures), wanted, atol=2e-6)
    assert len(energies_per_atom(potential, [])) == 0


def test_an_atom_without_neighbours_is_refused(potential: Chgnet) -> None:
    from pymatgen.core import Lattice, Structure

    with pytest.raises(PotentialError, match="no neighbour within 6 angstrom"):
        potential.evaluate([cell_of(Structure(Lattice.cubic(9), ["Na"], [[0, 0, 0]]))])
