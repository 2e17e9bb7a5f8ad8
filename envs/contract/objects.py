"""What a batch of objects is: what a kernel makes of terminal states, and reward terms read."""

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Objects(Protocol):
    """A read-only batch of objects.

    `Compositions` and `Crystals` are such batches; `oreflow.envs.objects.rows.Rows` serves most own worlds. A batch
    that is to be judged in worker processes is a dataclass whose fields can be pickled.
    """

    @property
    def kind(self) -> str:
        """What the objects are: "composition", "structure", or the name of a world; terms `requires` it."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> "Objects":
        """The objects chosen by a slice, by numbers or by a boolean array."""
        ...

    def key_bytes(self) -> list[bytes]:
        """One hashable key an object: equal keys, equal objects."""
        ...

    def labels(self) -> list[str]:
        """What messages call each object."""
        ...

    def fault(self) -> str:
        """What is wrong with the batch, which no array's type can say; "" where all is well."""
        ...
