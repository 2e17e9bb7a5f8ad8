"""SevenNet, an equivariant interatomic potential (the optional extra `sevennet`). The only file that imports sevenn.

Its checkpoints come with the package; nothing is fetched. They are pickles, which run code when they are read, so each
is compared with the hash of the published file first, and is read in the process that uses it only.
"""

import functools
import hashlib
import importlib.util
import warnings
from importlib.resources import files
from pathlib import Path

from oreflow.rewards.errors import MissingPackageError, PotentialError
from oreflow.rewards.potential.listing import Listed
from oreflow.rewards.potential.protocol import Card, Potential

# Of the wheel of sevenn 0.13.0: place below the package, SHA-256.
_CHECKPOINTS = {
    "7net-0": (
        "pretrained_potentials/SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
        "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
    ),
    "7net-l3i5": (
        "pretrained_potentials/SevenNet_l3i5/checkpoint_l3i5.pth",
        "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
    ),
}
# All to Pu but those that the Materials Project's trajectories lack.
_ELEMENTS = frozenset(range(1, 95)) - {84, 85, 86, 87, 88}
_CITATION = "Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190"


def load(name: str) -> Potential:
    """A SevenNet model on the CPU.

    Raises:
        MissingPackageError: when sevenn is not installed.
        PotentialError: when its checkpoint is not the published one.
    """
    spec = importlib.util.find_spec("sevenn")
    if spec is None or spec.origin is None:
        raise MissingPackageError("this energy needs SevenNet, which is not installed; pip install 'oreflow[sevennet]'")
    place, sha256 = _CHECKPOINTS[name]
    path = Path(spec.origin).parent / place
    check_hash(path, sha256)
    from oreflow.rewards.potential.ase_calculator import AsePotential

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sevenn.calculator import SevenNetCalculator

        calculator = SevenNetCalculator(str(path), device="cpu")
    return AsePotential(calculator, _card(name))


def check_hash(path: Path, sha256: str) -> None:
    """Raises PotentialError when a file is missing or is another than the published one."""
    if not path.is_file():
        raise PotentialError(f"expected a checkpoint at {path}, found none; install sevenn 0.13.0")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise PotentialError(
            f"expected {path} with SHA-256 {sha256}, got {found}; it is a pickle, which runs code when it is read, so "
            "it was not: install sevenn 0.13.0 anew"
        )


def _card(name: str) -> Card:
    return Card(name, "sevenn-0.13.0", "PBE(+U)", "mp2020", "MIT", _CITATION, _ELEMENTS)


def _listed(name: str, error_ev_per_atom: float) -> Listed:
    return Listed(
        _card(name),
        functools.partial(load, name),
        package="sevenn",
        title="SevenNet",
        extra="sevennet",
        references=Path(str(files("oreflow.rewards").joinpath(f"data/{name}_references.csv"))),
        error_ev_per_atom=error_ev_per_atom,
    )


SEVENNET_0, SEVENNET_L3I5 = _listed("7net-0", 0.013), _listed("7net-l3i5", 0.009)
