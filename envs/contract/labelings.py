"""Worlds in which one object can be several terminal states: what counts objects, not states, asks here.

Where a crystal has free coordinates, its labelings (shifted origins, axes turned into each other, sites exchanged) are
different terminal states. Samplers learn to draw each *state* with probability proportional to R(x) / n(x), n(x) the
number of states that are x; then each *object* comes up in proportion to R(x).
"""

from typing import Protocol, runtime_checkable

import numpy as np

from oreflow.envs.arrays import Floats, Ints, States
from oreflow.envs.contract.protocol import TransitionKernel


@runtime_checkable
class HasLabelings(Protocol):
    """A kernel whose objects may each be several terminal states."""

    def labelings(self, states: States) -> tuple[Ints, States]:
        """How many terminal states are the same object as each of `states`, and the one that stands for them all.

        Returns:
            n: int64 [batch].
            canonical: [batch, *state_shape], equal for equal objects.
        """
        ...

    def every_labeling(self, states: States) -> tuple[States, Ints]:
        """All terminal states that are the same objects as `states`.

        Returns:
            labelings: [labeling, *state_shape], distinct for each object.
            row: int64 [labeling], ascending: which of `states` each stands for.
        """
        ...

    def n_parts(self, states: States) -> Floats:
        """An upper bound of how many partial objects each of `states` can be built from, float64 [batch]."""
        ...


def count_objects(kernel: TransitionKernel) -> int:
    """How many objects an enumerable world has.

    Raises:
        ValueError: when the world is too large to enumerate.
    """
    world = kernel.enumerate()
    if not isinstance(kernel, HasLabelings):
        return world.n_objects
    terminal = world.states[world.can_stop]
    terminal = kernel.step(terminal, np.full(len(terminal), kernel.n_actions - 1))
    return len(np.unique(kernel.labelings(terminal)[1], axis=0))


def n_parts(kernel: TransitionKernel, states: States) -> Floats | None:
    """An upper bound of how many partial objects each of `states` can be built from; None where it is never large."""
    return kernel.n_parts(states) if isinstance(kernel, HasLabelings) else None


def canonical(kernel: TransitionKernel, states: States) -> States:
    """The terminal states that stand for the objects of `states`: equal rows are equal objects."""
    return kernel.labelings(states)[1] if isinstance(kernel, HasLabelings) else states


def log_labelings(kernel: TransitionKernel, states: States) -> Floats:
    """log n(x) of the objects of terminal states, float64 [batch]."""
    if isinstance(kernel, HasLabelings):
        return np.log(kernel.labelings(states)[0])
    return np.zeros(len(states))


def every_labeling(kernel: TransitionKernel, states: States) -> tuple[States, Ints]:
    """All terminal states of the objects of `states`, and int64 which of them each stands for, ascending."""
    if isinstance(kernel, HasLabelings):
        return kernel.every_labeling(states)
    return states, np.arange(len(states))
