"""What a term is given of a batch: the rows it can be asked about, in the form that it reads."""

from typing import Any

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.contract.protocol import CHEMICAL, Batch
from oreflow.rewards.contract.term import Term


def as_required(term: Term, batch: Batch) -> tuple[Batch, Ints, str]:
    """Take of a batch what a term can be asked about.

    Returns:
        batch: the rows with what the term requires, as `Compositions` or `Crystals`.
        rows: int64, where they stand in the given batch.
        reason: why the others are missing; "" where all rows are there.
    """
    everything = np.arange(len(batch))
    if term.requires not in CHEMICAL or not isinstance(batch, Compositions | Crystals):
        if term.requires == batch.kind:
            return batch, everything, ""
        return batch[:0], everything[:0], f"{term.name} needs objects of kind {term.requires}, got {batch.kind}"
    if term.requires == "composition":
        return batch.formula_units(), everything, ""
    if isinstance(batch, Compositions):
        return batch[:0], everything[:0], f"{term.name} needs a structure, got a composition"
    if not term.needs_geometry or batch.has_geometry.all():
        return batch, everything, ""
    rows = np.flatnonzero(batch.has_geometry)
    return batch[rows], rows, f"{term.name} needs a lattice and coordinates, got a crystal without"


def as_batch_type(term: Term, batch: Batch) -> Any:
    """Return the batch, which `as_required` has prepared, in the form that the term asks for."""
    if term.batch_type == "pymatgen":
        if isinstance(batch, Crystals):
            from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures

            return pymatgen_structures(batch)
        if isinstance(batch, Compositions):
            from oreflow.envs.objects.formulas import pymatgen_compositions

            return pymatgen_compositions(batch)
    return batch


def labels_of(batch: Batch) -> list[str]:
    """Name the items as messages do: by the formula, and of a crystal also by its space group."""
    return batch.labels()
