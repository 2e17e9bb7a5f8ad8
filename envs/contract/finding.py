"""Kernels that find the states of given objects: the inverse of `objects`, for known compounds to start from."""

from typing import Any, Protocol, runtime_checkable

from oreflow.envs.arrays import Bools, States


@runtime_checkable
class FindsCompositions(Protocol):
    """A kernel whose objects are compositions, and which finds them."""

    def find(self, compositions: Any) -> tuple[States, Bools]:
        """Terminal states [batch, *state_shape] of `Compositions`, and which of them are objects of this world."""
        ...


@runtime_checkable
class FindsCrystals(Protocol):
    """A kernel whose objects are crystals, and which finds them."""

    def find(self, crystals: Any) -> tuple[States, Bools, list[str | None]]:
        """Terminal states of `Crystals`, which of them are objects of this world, and why the others are not."""
        ...
