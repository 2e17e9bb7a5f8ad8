"""The crystal world as a config names it: `kind: wyckoff`."""

from dataclasses import dataclass
from typing import ClassVar

from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.registry import STRUCTURE, ChargeRule, World


@dataclass(frozen=True)
class CrystalWorld(WyckoffSpace, World):
    """Crystals; the fields are those of `WyckoffSpace`."""

    object_kind: ClassVar[str] = STRUCTURE

    def kernel(self) -> WyckoffKernel:
        """Build the kernel.

        Raises:
            EmptyWorldError: when no crystal satisfies the constraints.
        """
        return WyckoffKernel(self)

    @property
    def charge_rule(self) -> ChargeRule:
        """The table and the rule by which `neutrality` is judged."""
        return ChargeRule(self.oxidation_table, self.mixed_valence)

    @property
    def has_geometry(self) -> bool:
        """Whether lattice and coordinates are built too."""
        return self.geometry

    def symbols(self) -> tuple[str, ...]:
        """The elements, by rising atomic number."""
        return self.compositions.elements
