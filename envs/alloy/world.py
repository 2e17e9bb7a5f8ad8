"""The alloy world as a config names it: `kind: alloy`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from oreflow.envs.alloy.kernel import AlloyKernel
from oreflow.envs.alloy.names import alloy_names, mixing_entropy
from oreflow.envs.alloy.space import AlloySpace
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.registry import COMPOSITION, World


@dataclass(frozen=True)
class AlloyWorld(AlloySpace, World):
    """Alloys: concentrations in steps of 1/n_steps that sum to one; the fields are those of `AlloySpace`.

    Its objects are compositions, so every reward of compositions judges them. Metals share their electrons: there is no
    rule of charges, and tables and summaries say nothing of neutrality.
    """

    object_kind: ClassVar[str] = COMPOSITION

    def kernel(self) -> AlloyKernel:
        """Build the kernel.

        Raises:
            EmptyWorldError: when no alloy satisfies the constraints.
        """
        return AlloyKernel(self)

    def symbols(self) -> tuple[str, ...]:
        """The elements, by rising atomic number."""
        return self.elements

    def columns(self, objects: Compositions) -> Mapping[str, Sequence[Any]]:
        """The name in the field's own notation, and the ideal entropy of mixing in units of R."""
        return {"alloy": alloy_names(objects), "mixing_entropy_r": mixing_entropy(objects).tolist()}

    def summary(self, objects: Compositions) -> Mapping[str, Any]:
        """How many alloys are equimolar, and the median entropy of mixing in units of R."""
        if not len(objects):
            return {}
        equimolar = (objects.reduced().counts <= 1).all(axis=1)
        return {
            "share_equimolar": float(equimolar.mean()),
            "median_mixing_entropy_r": float(np.median(mixing_entropy(objects))),
        }
