"""The energy of a structure by CHGNet as a reward term."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import BatchType, Requires, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import PotentialError, RewardParameterError
from oreflow.rewards.potential.chgnet import CITATION, DEFAULT_VERSION, Chgnet
from oreflow.rewards.potential.listing import require_potential
from oreflow.rewards.potential.protocol import cell_of, energies_per_atom
from oreflow.rewards.potential.references import shipped_references
from oreflow.rewards.potential.relax import Relaxation, relax
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import ENERGY_COLUMN, read_reference

if TYPE_CHECKING:
    from pymatgen.core import Structure


class ChgnetEnergy(Term):
    """Formation energy of a structure by the interatomic potential CHGNet, or its energy above a hull, eV/atom.

    CHGNet's total energy less that of the elements (`rewards/data/chgnet_references.csv`). With `reference` the value
    is that formation energy less the convex hull of the reference's phases: below 0 the structure is more stable than
    every mixture of them.

    Without `relax` the structure is taken as it is, which costs about 10 ms an evaluation of a small cell; with it
    atoms and cell are first relaxed, at some hundred times the cost: set `isolated: true`, `workers` and
    `time_limit_s`. A relaxation that is not converged after `steps` gives the energy that it has reached.

    Columns: `chgnet_total_energy_ev_per_atom`; with a reference also `chgnet_formation_energy_ev_per_atom` and
    `chgnet_decomposition`; with `relax` also `chgnet_converged` and `chgnet_volume_change`, a fraction. Structures that
    the potential does not know (elements beyond Pu, atoms on top of each other or without neighbours) are invalid,
    with a reason.
    """

    name = "chgnet_energy"
    unit = "eV/atom"
    requires: Requires = "structure"
    batch_type: BatchType = "pymatgen"
    path_params = ("reference",)

    def __init__(
        self,
        relax: bool = False,
        fmax: float = 0.1,
        steps: int = 500,
        reference: str | Path | None = None,
        same_formula: Literal["include", "exclude"] = "include",
        formula_column: str | None = None,
        energy_column: str = ENERGY_COLUMN,
        sha256: str | None = None,
    ) -> None:
        """Reads the reference; the potential follows on the first call.

        Args:
            relax: whether the structure is relaxed first.
            fmax: eV/angstrom, the largest force of a relaxed structure.
            steps: of the optimiser, at most.
            reference: known phases, as `rewards.reference.known_phases.read_reference` takes them; their
                energies should be those of the Materials Project, as CHGNet's are.
            same_formula: whether phases of the structure's own formula count.
            formula_column, energy_column: names of the reference's columns.
            sha256: what the SHA-256 of the reference must be.

        Raises:
            MissingPackageError: when chgnet is not installed.
            RewardParameterError: for a parameter out of range.
            TableError: when the reference cannot be read or used.
        """
        require_potential("chgnet", "reward 'chgnet_energy'")
        if isinstance(fmax, bool) or not isinstance(fmax, int | float) or not 0 < fmax < math.inf:
            raise RewardParameterError(f"chgnet_energy: expected fmax above 0 eV/angstrom, got {fmax!r}")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise RewardParameterError(f"chgnet_energy: expected steps of at least 1, got {steps!r}")
        if same_formula not in ("include", "exclude"):
            raise RewardParameterError(
                f"chgnet_energy: expected same_formula to be 'include' or 'exclude', got {same_formula!r}"
            )
        self.relax, self.fmax, self.steps = bool(relax), float(fmax), steps
        self.include_same_formula = same_formula == "include"
        self.references = shipped_references()
        self.phases: CompetingPhases | None = None
        self.version = f"chgnet-{DEFAULT_VERSION}-references-{self.references.version}"
        if reference is not None:
            known = read_reference(reference, formula_column=formula_column, energy_column=energy_column, sha256=sha256)
            known.warn()
            self.phases = CompetingPhases(known)
            self.version += f"-reference-{known.version}"
        self.citations: tuple[str, ...] = (CITATION,)

    @cached_property
    def _potential(self) -> Chgnet:
        return Chgnet(DEFAULT_VERSION)

    def __call__(self, batch: "Sequence[Structure]") -> TermValues:
        """Values of pymatgen structures; NaN where invalid."""
        n = len(batch)
        totals, values, reasons = np.full(n, np.nan), np.full(n, np.nan), dict[int, str]()
        converged, volume_change = np.zeros(n, dtype=np.bool_), np.full(n, np.nan)
        if self.relax:
            for row, structure in enumerate(batch):
                end = self._relaxed(structure)
                if isinstance(end, str):
                    reasons[row] = end
                    continue
                totals[row], converged[row] = end.energy_ev_per_atom, end.status == "converged"
                volume_change[row] = abs(np.linalg.det(end.vectors)) / structure.volume - 1
        else:
            totals, reasons = self._energies(batch)
        for row in np.flatnonzero(np.isfinite(totals)).tolist():
            try:
                values[row] = self.references.formation_energy(batch[row], float(totals[row]))
            except PotentialError as error:
                reasons[row] = str(error)
        columns = {"chgnet_total_energy_ev_per_atom": totals}
        if self.phases is not None:
            columns["chgnet_formation_energy_ev_per_atom"] = values
            values, columns["chgnet_decomposition"] = self._above_hull(self.phases, batch, values)
        if self.relax:
            columns |= {"chgnet_converged": converged, "chgnet_volume_change": volume_change}
        return TermValues(values, np.isfinite(values), columns, reasons)

    def _relaxed(self, structure: "Structure") -> Relaxation | str:
        try:
            end = relax(self._potential, cell_of(structure), hold_symmetry=True, fmax=self.fmax, steps=self.steps)
        except PotentialError as error:
            return str(error)
        return end.reason if end.status == "unphysical" else end

    def _energies(self, batch: "Sequence[Structure]") -> tuple[Floats, dict[int, str]]:
        try:
            return energies_per_atom(self._potential, batch), {}
        except PotentialError:
            pass
        energies, reasons = np.full(len(batch), np.nan), {}
        for row, structure in enumerate(batch):
            try:
                energies[row] = energies_per_atom(self._potential, [structure])[0]
            except PotentialError as error:
                reasons[row] = str(error)
        return energies, reasons

    def _above_hull(
        self, phases: CompetingPhases, batch: "Sequence[Structure]", values: Floats
    ) -> tuple[Floats, NDArray[Any]]:
        known = np.flatnonzero(np.isfinite(values))
        above, decompositions = np.full(len(batch), np.nan), np.full(len(batch), "", dtype=object)
        if len(known):
            counts = [
                {atomic_number(symbol): round(n) for symbol, n in batch[row].composition.get_el_amt_dict().items()}
                for row in known.tolist()
            ]
            hull = phases.hull(Compositions.from_dicts(counts), include_same_formula=self.include_same_formula)
            above[known] = values[known] - hull.energies
            decompositions[known] = phases.decompositions(hull)
        return above, decompositions
