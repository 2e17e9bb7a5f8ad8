"""The contract between a reward term and the rest of oreflow."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from envs.compositions import Compositions

Requires = Literal["composition", "structure"]
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
    of the elements nor on the number of formula units.

    Two further class attributes are read where they exist: `batch_type` ("arrays", or "pymatgen" for a tuple of
    `pymatgen.core.Composition`) and `path_params` (names of parameters that are files, so that relative paths in a
    config still lead there when the run is used from another folder).
    """

    name: str
    unit: str
    version: str
    citations: tuple[str, ...]
    requires: Requires

    def __call__(self, batch: Any) -> TermValues:
        """Values and validity of every row of `batch`: `Compositions`, or what `batch_type` asks for."""
        ...


def as_batch_type(term: RewardTerm, batch: Compositions) -> Any:
    """The batch in the form that the term asks for."""
    if getattr(term, "batch_type", "arrays") == "pymatgen":
        from envs.decode import pymatgen_compositions

        return pymatgen_compositions(batch)
    return batch
