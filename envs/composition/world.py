"""The composition world as a config names it: `kind: composition`."""

from dataclasses import dataclass
from typing import ClassVar

from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.registry import COMPOSITION, ChargeRule, World


@dataclass(frozen=True)
class FormulaWorld(CompositionSpace, World):
    """Reduced formulas; the fields are those of `CompositionSpace`."""

    object_kind: ClassVar[str] = COMPOSITION

    def kernel(self) -> CompositionKernel:
        """Build the kernel.

        Raises:
            EmptyWorldError: when no formula satisfies the constraints.
        """
        return CompositionKernel(self)

    @property
    def charge_rule(self) -> ChargeRule:
        """The table and the rule by which `neutrality` is judged."""
        return ChargeRule(self.oxidation_table, self.mixed_valence)

    def symbols(self) -> tuple[str, ...]:
        """The elements, by rising atomic number."""
        return self.elements
