"""The contract between a reward term and the rest of oreflow."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.contract.objects import Objects
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals

Batch = Compositions | Crystals | Objects
Requires = str  # "composition", "structure", or the name of an own world
SCORED = "_scored"  # ends the name of a column that shapes are applied to
CHEMICAL = (Compositions.kind, Crystals.kind)
BatchType = Literal["arrays", "pymatgen"]


@dataclass(frozen=True)
class TermValues:
    """What a reward term says about a batch.

    Attributes:
        values: float64 [batch], in the term's unit; what stands where `valid` is False has no meaning.
        valid: bool [batch], False where the term has no value (out of scope, failed, unknown data).
        columns: further named arrays [batch] for the candidate table, such as a standard deviation. One whose name ends
            in `_scored` is what shapes are applied to in place of the values.
        reasons: why an item is invalid, by row; rows without an entry carry no reason.
        tracebacks: where the term raised, by row; oreflow fills it in.
    """

    values: Floats
    valid: Bools
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    tracebacks: dict[int, str] = field(default_factory=dict)


@runtime_checkable
class RewardTerm(Protocol):
    """A pure function from a batch of objects to values, with its name, unit and sources.

    Calling it never changes its input, gives each item the value it would get alone, and depends neither on the order
    of the elements or sites nor on the number of formula units.

    A term that requires "composition" gets `Compositions`, also of crystals. A term that requires "structure" gets
    `Crystals` that all have a geometry; what has none is invalid without being asked about. A term that requires the
    name of an own world gets what the kernel of that world makes of its states.

    `rewards.Term` is a base class that fulfils this, with further attributes (`needs_geometry`, `batch_type`,
    `path_params`) and their defaults. A plain class may set those too.
    """

    name: str
    unit: str
    version: str
    citations: tuple[str, ...]
    requires: Requires

    def __call__(self, batch: Any) -> TermValues:
        """Values and validity of every row of `batch`: what `requires` and `batch_type` ask for."""
        ...
