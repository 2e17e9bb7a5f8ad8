"""The crystal world as a config names it: `kind: wyckoff`."""

from dataclasses import dataclass
from typing import ClassVar

from oreflow.envs.crystal.completion import complete_crystal
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.partial import parse_partial
from oreflow.envs.registry import STRUCTURE, ChargeRule, World


@dataclass(frozen=True)
class CrystalWorld(WyckoffSpace, World):
    """Crystals; the fields are those of `WyckoffSpace`, and a partial crystal that all of them complete.

    Attributes:
        start: as `oreflow.envs.objects.partial` reads it, such as "221: Sr@1a Ti ?"; None for all crystals.
    """

    object_kind: ClassVar[str] = STRUCTURE
    start: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None:
            parse_partial(self.start)

    def kernel(self) -> WyckoffKernel:
        """Build the kernel.

        Raises:
            EmptyWorldError: when no crystal satisfies the constraints.
            StartError: when none of those that do completes the start.
        """
        kernel = WyckoffKernel(self)
        return kernel if self.start is None else complete_crystal(kernel, self.start)

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
