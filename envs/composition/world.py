"""The composition world as a config names it: `kind: composition`."""

from dataclasses import dataclass
from typing import ClassVar

from oreflow.envs.composition.completion import complete_composition
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.objects.partial import parse_partial
from oreflow.envs.registry import COMPOSITION, ChargeRule, World


@dataclass(frozen=True)
class FormulaWorld(CompositionSpace, World):
    """Reduced formulas; the fields are those of `CompositionSpace`, and a partial formula that all of them complete.

    Attributes:
        start: as `oreflow.envs.objects.partial` reads it, such as "Li3 P S4 ?"; None for all formulas.
    """

    object_kind: ClassVar[str] = COMPOSITION
    start: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None:
            parse_partial(self.start)

    def kernel(self) -> CompositionKernel:
        """Build the kernel.

        Raises:
            EmptyWorldError: when no formula satisfies the constraints.
            StartError: when none of those that do completes the start.
        """
        return CompositionKernel(self) if self.start is None else complete_composition(self, self.start)

    @property
    def charge_rule(self) -> ChargeRule:
        """The table and the rule by which `neutrality` is judged."""
        return ChargeRule(self.oxidation_table, self.mixed_valence)

    def symbols(self) -> tuple[str, ...]:
        """The elements, by rising atomic number."""
        return self.elements
