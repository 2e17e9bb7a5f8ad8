"""CHGNet, a pretrained interatomic potential, and relaxations with it. The only file that imports chgnet and ASE.

CHGNet (Deng et al., Nat. Mach. Intell. 5, 1031, 2023) was trained on the relaxations of the Materials Project: PBE and
PBE+U energies with the corrections of MP2020. Its weights come with the package; nothing is fetched.
"""

import contextlib
import importlib.util
import io
import math
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.rewards.errors import MissingPackageError, PotentialError, RewardParameterError

if TYPE_CHECKING:
    from pymatgen.core import Structure

MODEL_VERSIONS = ("0.3.0", "0.2.0", "r2scan")
DEFAULT_VERSION = "0.3.0"
MAX_ATOMIC_NUMBER = 94
CITATION = "Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3"
# Beyond this factor, either way, a cell has flown apart or collapsed. Proposed cells are often several times too dense,
# and relax to sound crystals; atoms that drift apart soon lose their last neighbour, which ends it too.
MAX_VOLUME_FACTOR = 10.0
# Closer than this no two atoms of any solid are; the shortest bond, of H2, is 0.74 angstrom.
MIN_DISTANCE_A = 0.5
# Energies are relative to free atoms without spin, so solids have negative ones. Squeezed atoms can end in a spurious
# minimum of the potential, several eV above free atoms.
MAX_ENERGY_EV_PER_ATOM = 1.0

Status = Literal["converged", "not_converged", "time_limit", "unphysical"]


@dataclass(frozen=True)
class Relaxation:
    """The end of a relaxation, and how it came to it.

    Attributes:
        status: "converged"; "not_converged" after all steps; "time_limit"; "unphysical", where volume, distances or
            energy left the range of solids, so that the end has no meaning.
        reason: a phrase; "" where converged.
        vectors: float64 [3, 3], rows are lattice vectors in angstrom.
        fractional: float64 [atom, 3], in the order of the input and not wrapped into the cell.
        energy_before_ev_per_atom, energy_ev_per_atom: potential energy of the input and of the end.
        max_force_ev_per_a: largest force on an atom at the end.
        n_steps: steps of the optimiser.
    """

    status: Status
    reason: str
    vectors: Floats
    fractional: Floats
    energy_before_ev_per_atom: float
    energy_ev_per_atom: float
    max_force_ev_per_a: float
    n_steps: int


def require_chgnet(what: str) -> None:
    """Raises MissingPackageError when chgnet is not installed; imports nothing.

    Args:
        what: who needs it, as the message names it.
    """
    if importlib.util.find_spec("chgnet") is None:
        raise MissingPackageError(f"{what} needs CHGNet, which is not installed; pip install 'oreflow[chgnet]'")


def check_version(version: str) -> None:
    """Raises RewardParameterError for a model that does not come with the package."""
    if version not in MODEL_VERSIONS:
        raise RewardParameterError(f"expected a CHGNet model of {', '.join(MODEL_VERSIONS)}, got {version!r}")


class Chgnet:
    """A loaded CHGNet model on the CPU.

    Args:
        version: "0.3.0" and "0.2.0" give PBE(+U) energies as the Materials Project corrects them, "r2scan" those of
            the r2SCAN functional.

    Raises:
        MissingPackageError: when chgnet is not installed.
        RewardParameterError: for another version.
    """

    def __init__(self, version: str = DEFAULT_VERSION) -> None:
        check_version(version)
        require_chgnet("this energy")
        with _quiet():
            from chgnet.model.dynamics import CHGNetCalculator
            from chgnet.model.model import CHGNet

            self._model = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
            # An atom without neighbours adds an energy that jumps when it comes within the cut-off: an error instead.
            self._calculator = CHGNetCalculator(self._model, use_device="cpu", on_isolated_atoms="error")
        self.version = version

    def energies(self, structures: "Sequence[Structure]", batch_size: int = 16) -> Floats:
        """Potential energies of structures as they are, float64 [structure], eV/atom.

        Raises:
            PotentialError: when the potential cannot describe one of them.
        """
        if not len(structures):
            return np.empty(0)
        for structure in structures:
            check_structure(structure)
        with _quiet(), _said():
            predictions = self._model.predict_structure(list(structures), task="e", batch_size=batch_size)
        if isinstance(predictions, dict):
            predictions = [predictions]
        return np.array([float(prediction["e"]) for prediction in predictions])

    def relax(
        self, structure: "Structure", *, fmax: float = 0.1, steps: int = 500, time_limit_s: float = math.inf
    ) -> Relaxation:
        """Moves atoms and cell downhill (FIRE; Bitzek et al., Phys. Rev. Lett. 97, 170201, 2006) until forces vanish.

        Args:
            structure: ordered, with at least one neighbour within 6 angstrom of every atom.
            fmax: eV/angstrom, converged when no atom, and no row of the cell's gradient, has a larger force.
            steps: at most so many.
            time_limit_s: seconds after which the relaxation ends where it is.

        Raises:
            PotentialError: when the potential cannot describe the structure.
        """
        from ase.filters import FrechetCellFilter
        from ase.optimize import FIRE
        from pymatgen.io.ase import AseAtomsAdaptor

        check_structure(structure)
        started = time.monotonic()
        with _quiet(), _said():
            atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
            atoms.calc = self._calculator
            n, volume = len(atoms), float(atoms.get_volume())
            before = energy = float(atoms.get_potential_energy()) / n
            status: Status = "not_converged"
            reason = f"forces above {fmax:g} eV/angstrom after {steps} steps"
            optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
            try:
                for done in optimizer.irun(fmax=fmax, steps=steps):
                    energy = float(atoms.get_potential_energy()) / n
                    wrong = _out_of_range(atoms, volume, energy)
                    if wrong:
                        status, reason = "unphysical", wrong
                        break
                    if done:
                        status, reason = "converged", ""
                        break
                    if time.monotonic() - started > time_limit_s:
                        status, reason = "time_limit", f"not converged within {time_limit_s:g} s"
                        break
                forces = np.asarray(atoms.get_forces())
                if status != "unphysical" and energy > MAX_ENERGY_EV_PER_ATOM:
                    status, reason = "unphysical", f"the energy, {energy:.3g} eV/atom, is above that of free atoms"
            except (PotentialError, ValueError) as error:
                if optimizer.nsteps == 0:
                    raise
                # What was a solid at the start became none on the way.
                status, reason, forces = "unphysical", str(error).splitlines()[0], np.full((n, 3), np.nan)
        return Relaxation(
            status,
            reason,
            np.array(atoms.cell[:]),
            np.array(atoms.cell.scaled_positions(atoms.positions)),
            before,
            energy,
            float(np.sqrt((forces**2).sum(axis=1)).max()),
            int(optimizer.nsteps),
        )


def check_structure(structure: "Structure") -> None:
    """Raises PotentialError for a structure that the potential cannot describe."""
    if not len(structure):
        raise PotentialError("it has no atoms")
    if not structure.is_ordered:
        raise PotentialError("sites are partly occupied; expected one element on every site")
    heavy = sorted({site.specie.symbol for site in structure if site.specie.Z > MAX_ATOMIC_NUMBER})
    if heavy:
        raise PotentialError(f"CHGNet knows the elements H to Pu, not {', '.join(heavy)}")
    if not (np.isfinite(structure.lattice.matrix).all() and structure.volume > 0):
        raise PotentialError("the cell has no volume")
    if len(structure.get_neighbor_list(MIN_DISTANCE_A)[3]):
        raise PotentialError(f"two atoms are closer than {MIN_DISTANCE_A:g} angstrom")


def _out_of_range(atoms: Any, first_volume: float, energy: float) -> str:
    if not math.isfinite(energy):
        return "the energy is not a finite number"
    from ase.neighborlist import neighbor_list

    factor = float(atoms.get_volume()) / first_volume
    if not 1 / MAX_VOLUME_FACTOR < factor < MAX_VOLUME_FACTOR:
        return f"the volume became {factor:.3g} times that of the start"
    if len(neighbor_list("d", atoms, MIN_DISTANCE_A)):
        return f"two atoms came closer than {MIN_DISTANCE_A:g} angstrom"
    return ""


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Turns what chgnet raises about a structure into a PotentialError."""
    try:
        yield
    except PotentialError:
        raise
    except ValueError as error:
        text = str(error)
        raise PotentialError(
            "an atom has no neighbour within 6 angstrom" if "isolated atom" in text else text.splitlines()[0]
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallows what chgnet and torch print and warn about."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
