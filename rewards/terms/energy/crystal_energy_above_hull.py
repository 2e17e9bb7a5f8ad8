"""Predicted energy of a crystal above the convex hull of known phases as a reward term."""

from pathlib import Path
from typing import Literal

from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.crystal.model import DEFAULT_CRYSTAL_MODEL, CrystalEnergyModel
from oreflow.rewards.reference.alignment import MAX_RESIDUAL_EV_PER_ATOM
from oreflow.rewards.reference.known_phases import ENERGY_COLUMN
from oreflow.rewards.terms.energy.above_hull import AboveHullTerm


class CrystalEnergyAboveHull(AboveHullTerm):
    """Formation energy predicted of a crystal minus the convex hull of the user's reference phases, eV/atom.

    0 is on the hull; below 0 the crystal is predicted to be more stable than every mixture of phases in the reference;
    above 0 it would release that energy by decomposing into the phases of the column `decomposition`. The prediction
    reads space group and occupied positions, as `crystal_formation_energy` does: other than `energy_above_hull` it
    tells polymorphs of one formula apart. Lattice and coordinates are not used and need not be there.

    The shipped crystal model was fitted on structures of the Materials Project. A reference of another source or
    correction is put on that scale with `aligned_by`, a reference of the model's own kind (such as the structures that
    the model was fitted on): one shift an element is fitted on the formulas that both hold, the difference that is left
    is said, and the hull is that of the formulas of both.

    Columns and holes are those of `energy_above_hull`, named after this term: `crystal_energy_above_hull_std` (eV/atom)
    is the model's standard deviation, the reference counting as exact. Rows outside the model's scope, and pure
    elements, are invalid, with a reason.
    """

    name = "crystal_energy_above_hull"
    requires: Requires = "structure"
    needs_geometry = False
    model_type: type[EnergyModel] = CrystalEnergyModel
    path_params = ("reference", "model", "aligned_by")

    def __init__(
        self,
        reference: str | Path,
        model: str | Path = DEFAULT_CRYSTAL_MODEL,
        std_weight: float = 0.0,
        same_formula: Literal["include", "exclude"] = "include",
        holes: Literal["avoid", "keep"] = "avoid",
        aligned_by: str | Path | None = None,
        max_residual: float = MAX_RESIDUAL_EV_PER_ATOM,
        formula_column: str | None = None,
        energy_column: str = ENERGY_COLUMN,
        sha256: str | None = None,
    ) -> None:
        """Reads the references and the model's description.

        Args:
            reference: CSV, CSV.gz or Parquet of formulas and formation energies (eV/atom), or a JSON file of entries;
                see `oreflow.rewards.reference.known_phases.read_reference`.
            model: the name of a shipped crystal model, or a directory that `oreflow fit-energy` wrote from structures.
            std_weight: how many standard deviations are added to the predicted energy.
            same_formula: whether reference entries of a crystal's own reduced formula are competing phases.
            holes: "avoid" keeps a search out of the reference's holes, "keep" pays for the plain value.
            aligned_by: a reference whose energies are of the model's kind, which `reference` is aligned to.
            max_residual: eV/atom, the mean difference that the alignment may leave on common formulas.
            formula_column, energy_column: names of the reference's columns.
            sha256: when given, what the reference's SHA-256 must be.

        Raises:
            RewardParameterError: for a value out of range.
            TableError, ReferenceTableError: when a reference cannot be read or used, or the two cannot be aligned.
            EnergyModelError: when there is no such model, or it is one of compositions.
        """
        super().__init__(
            reference,
            model,
            std_weight,
            same_formula,
            holes,
            aligned_by=aligned_by,
            max_residual=max_residual,
            formula_column=formula_column,
            energy_column=energy_column,
            sha256=sha256,
        )

    def __call__(self, batch: Crystals) -> TermValues:
        """Energy above the hull of every row; NaN where invalid.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or do not belong to the description.
        """
        return self.above_hull(self.model.predict(batch), batch.compositions)  # type: ignore[arg-type]
