"""Objects of own worlds: the plain batch that most of them need."""

from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import AnyInts, Bools, Ints


@dataclass(frozen=True)
class Rows:
    """Objects that are rows of whole numbers.

    Attributes:
        kind: the name of the world.
        values: int64 [batch, ...], read-only; equal rows are equal objects.
    """

    kind: str
    values: Ints

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.int64).view()
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: slice | AnyInts | Bools) -> "Rows":
        return Rows(self.kind, self.values[index])

    def key_bytes(self) -> list[bytes]:
        """The rows as bytes."""
        return [row.tobytes() for row in self.values]

    def labels(self) -> list[str]:
        """The rows as text."""
        return [" ".join(map(str, row.reshape(-1).tolist())) for row in self.values]

    def fault(self) -> str:
        """None is possible."""
        return ""
