"""Kernels that can draw every object with the same probability, without building it step by step."""

from typing import Protocol, runtime_checkable

import numpy as np

from oreflow.envs.arrays import States


class TooRareError(RuntimeError):
    """Objects are so rare that drawing one would take hours."""


@runtime_checkable
class DrawsUniformly(Protocol):
    """A kernel with an exact way to draw objects uniformly."""

    def sample_uniform(self, n: int, rng: np.random.Generator) -> States:
        """Terminal states [n, *state_shape], every object equally likely each time.

        Raises:
            TooRareError: when this would take hours.
        """
        ...
