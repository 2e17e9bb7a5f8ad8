"""Potentials by name: those that ship, those of plug-ins, those that are not installed."""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from oreflow.envs import plugins
from oreflow.rewards.errors import (
    MissingPackageError,
    PluginError,
    PotentialError,
    RewardParameterError,
    UnknownPotentialError,
)
from oreflow.rewards.potential import sevennet
from oreflow.rewards.potential.corrections import mp2020_correction
from oreflow.rewards.potential.listing import POTENTIALS, listed, register_potential, require_potential
from oreflow.rewards.potential.protocol import energies_per_atom
from oreflow.rewards.potential.references import shipped_references
from tests.support.cli import oreflow, refused
from tests.support.small_crystals import perovskite, rock_salt

PLUGIN = """
import oreflow

@oreflow.register_potential("emt", functional="effective medium theory", elements=("Al", "Cu", "Ni", "Au"))
def emt():
    from ase.calculators.emt import EMT

    return EMT()
"""


@pytest.fixture(autouse=True)
def _no_plugin_stays() -> object:
    yield
    plugins.forget_all()


def test_names_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(POTENTIALS.names()) == {"7net-0", "7net-l3i5", "chgnet", "chgnet-0.2.0", "chgnet-r2scan"}
    assert {name: listed(name).card.name for name in POTENTIALS.names()} == {name: name for name in POTENTIALS.names()}
    with pytest.raises(UnknownPotentialError, match="7net-0"):
        listed("7net0")
    monkeypatch.setitem(sys.modules, "sevenn", None)
    with pytest.raises(MissingPackageError) as caught:
        require_potential("7net-0", "oreflow relax")
    assert str(caught.value) == (
        "oreflow relax needs SevenNet, which is not installed; pip install 'oreflow[sevennet]'"
    )
    with pytest.raises(RewardParameterError, match="got 'mp'"):
        register_potential("x", elements=("H",), functional="", correction="mp")  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="taken"):
        register_potential("chgnet", elements=("H",), functional="")(dict)
    with pytest.raises(PotentialError, match="no reference energies of the elements are known for chgnet-r2scan"):
        shipped_references("chgnet-r2scan")


def test_corrections_are_those_of_the_publication() -> None:
    """Wang et al. 2021, table 1: eV per atom of O -0.687, Cl -0.614, F -0.462, Fe under +U -2.256."""
    from pymatgen.core import Lattice, Structure

    assert mp2020_correction(rock_salt(5.6)) == pytest.approx(-0.614 / 2)
    assert mp2020_correction(perovskite()) == pytest.approx(-3 * 0.687 / 5)
    iron = perovskite()
    iron.replace(1, "Fe")
    assert mp2020_correction(iron) == pytest.approx((-3 * 0.687 - 2.256) / 5)
    chloride = rock_salt(5.2, "Fe")  # no U without oxygen or fluorine
    assert mp2020_correction(chloride) == pytest.approx(-0.614 / 2)
    assert mp2020_correction(Structure(Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]])) == 0.0


def test_a_checkpoint_that_was_changed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(b"weights")
    sevennet.check_hash(path, hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(PotentialError, match="so it was not"):
        sevennet.check_hash(path, hashlib.sha256(b"others").hexdigest())
    with pytest.raises(PotentialError, match="found none"):
        sevennet.check_hash(tmp_path / "none.pth", "")


def test_a_plug_in_of_six_lines_relaxes(tmp_path: Path) -> None:
    from pymatgen.core import Lattice, Structure

    (tmp_path / "emt.py").write_text(PLUGIN)
    Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.8), ["Cu"], [[0, 0, 0]]).to(filename=str(tmp_path / "a.cif"))
    rock_salt(5.6).to(filename=str(tmp_path / "b.cif"))
    command = [
        "relax",
        tmp_path / "a.cif",
        tmp_path / "b.cif",
        "--out",
        tmp_path / "out",
        "--plugin",
        tmp_path / "emt.py",
    ]
    result = oreflow(*command, "--potential", "emt", "--track", "held", "--workers", 1, "--json")
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert data["n_by_status"] == {"converged": 1, "failed": 1}
    assert data["first_failures"][0]["reason"] == "emt knows Al, Ni, Cu, Au, not Cl, Na"
    assert data["potential"]["functional"] == "effective medium theory"
    end = Structure.from_file(tmp_path / "out" / "cif" / "a.cif")
    assert end.get_primitive_structure().volume == pytest.approx(3.59**3 / 4, rel=0.01)  # EMT's copper
    # A journal belongs to one potential, as it stands, and one track.
    refused("track held (now both)", *command, "--potential", "emt")
    (tmp_path / "emt.py").write_text(PLUGIN + "\n# edited\n")
    refused("package", *command, "--potential", "emt", "--track", "held")
    refused("potential emt (now chgnet)", *command, "--track", "held")
    refused("for which none are known", *command, "--potential", "emt", "--reference", tmp_path / "a.cif")
    refused("with --potential chgnet only", *command, "--potential", "emt", "--model-version", "0.3.0")
    refused("expected --track to be one of both, held, free", *command, "--track", "loose")
    refused("expected --rattle above 0 with --track free", *command, "--track", "free", "--rattle", "0")
    refused("expected the name of a potential, got 'emu'", *command, "--potential", "emu")


@pytest.mark.skipif(importlib.util.find_spec("sevenn") is None, reason="needs the extra sevennet")
@pytest.mark.parametrize("name", ["7net-0", "7net-l3i5"])
def test_sevennet_gives_raw_energies_and_corrected_formation_energies(name: str) -> None:
    potential = require_potential(name, "this test").load()
    strontium, salt = perovskite(3.945), rock_salt(5.69)
    energies = energies_per_atom(potential, [strontium, salt])
    assert energies[0] == pytest.approx(-8.02, abs=0.03)  # PBE without corrections; with them -8.43
    found = [shipped_references(name).formation_energy(s, float(e)) for s, e in zip((strontium, salt), energies)]
    # Materials Project: SrTiO3 mp-5229 -3.55, NaCl mp-22862 -2.11 eV/atom, which are near experiment's -3.46 and -2.13.
    np.testing.assert_allclose(found, [-3.55, -2.11], atol=0.06)
