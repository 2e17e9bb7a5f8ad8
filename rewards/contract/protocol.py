"""The contract between a reward term and the rest of oreflow."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from oreflow.envs.contract.objects import Objects
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals

Batch = Compositions | Crystals | Objects
Requires = str  # "composition", "structure", or the name of an own world
CHEMICAL = (Compositions.kind, Crystals.kind)
BatchType = Literal["arrays", "pymatgen"]


@dataclass(frozen=True)
class TermValues:
    """What a reward term says about a batch.

    Attributes:
        values: float64 [batch], in the term's unit; what stands where `valid` is False has no meaning.
        valid: bool [batch], False where the term has no value (out of scope, failed, unknown data).
        columns: further named arrays [batch] for the candidate table, such as a standard deviation.
        reasons: why an item is invalid, by row; rows without an entry carry no reason.
        tracebacks: where the term raised, by row; oreflow fills it in.
    """

    values: np.ndarray
    valid: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    tracebacks: dict[int, str] = field(default_factory=dict)


@runtime_checkable
class RewardTerm(Protocol):
    """A pure function from a batch of objects to values, with its name, unit and sources.

    Calling it never changes its input, gives each item the value it would get alone, and depends neither on the order
    of the elements or sites nor on the number of formula units.

    A term that requires "composition" gets `Compositions`, also of crystals. A term that requires "structure" gets
    `Crystals` that all have a geometry; what has none is invalid without being asked about. With the class attribute
    `needs_geometry = False` it gets the others too: space group and occupied positions are then all it reads. A term
    that requires the name of an own world gets what the kernel of that world makes of its states.

    Two further class attributes are read where they exist: `batch_type` ("arrays", or "pymatgen" for a tuple of
    `pymatgen.core.Composition`, or of `pymatgen.core.Structure` where a structure is required) and `path_params` (names
    of parameters that are files, so that relative paths in a config still lead there when the run is used from another
    folder).
    """

    name: str
    unit: str
    version: str
    citations: tuple[str, ...]
    requires: Requires

    def __call__(self, batch: Any) -> TermValues:
        """Values and validity of every row of `batch`: what `requires` and `batch_type` ask for."""
        ...


def as_required(term: RewardTerm, batch: Batch) -> tuple[Batch, np.ndarray, str]:
    """What of a batch a term can be asked about.

    Returns:
        batch: the rows with what the term requires, as `Compositions` or `Crystals`.
        rows: int64, where they stand in the given batch.
        reason: why the others are missing; "" where all rows are there.
    """
    everything = np.arange(len(batch))
    if term.requires not in CHEMICAL or batch.kind not in CHEMICAL:
        if term.requires == batch.kind:
            return batch, everything, ""
        return batch[:0], everything[:0], f"{term.name} needs objects of kind {term.requires}, got {batch.kind}"
    assert isinstance(batch, Compositions | Crystals)
    if term.requires == "composition":
        return (batch.compositions.reduced() if isinstance(batch, Crystals) else batch), everything, ""
    if isinstance(batch, Compositions):
        return batch[:0], everything[:0], f"{term.name} needs a structure, got a composition"
    if not getattr(term, "needs_geometry", True) or batch.has_geometry.all():
        return batch, everything, ""
    rows = np.flatnonzero(batch.has_geometry)
    return batch[rows], rows, f"{term.name} needs a lattice and coordinates, got a crystal without"


def as_batch_type(term: RewardTerm, batch: Batch) -> Any:
    """The batch, which `as_required` has prepared, in the form that the term asks for."""
    if getattr(term, "batch_type", "arrays") == "pymatgen":
        if isinstance(batch, Crystals):
            from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures

            return pymatgen_structures(batch)
        if isinstance(batch, Compositions):
            from oreflow.envs.objects.formulas import pymatgen_compositions

            return pymatgen_compositions(batch)
    return batch


def labels_of(batch: Batch) -> list[str]:
    """What messages call the items: the formula, and the space group of a crystal."""
    return batch.labels()
