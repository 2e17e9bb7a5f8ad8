"""The section `world` of a config: what may be built, compositions or crystals."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from oreflow.agent.config.closed_model import Closed
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.oxidation import resolve_table
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.crystal.space import WyckoffSpace


class _ElementRules(Closed):
    """What both worlds say about elements."""

    elements: list[str] = Field(["mp84"], description="symbols and preset names")
    forbidden: list[str] = Field([], description="symbols and presets taken out of `elements`")
    n_elements: tuple[int, int] = Field((2, 4), description="smallest and largest number of distinct elements")
    required: list[str] = Field([], description="elements that must occur")
    required_groups: list[list[str]] = Field([], description="lists of which at least one element must occur")
    neutrality: Literal["hard", "soft", "off"] = Field(
        "hard", description="hard: only neutral formulas exist; soft: the reward must hold charge_balance; off"
    )
    oxidation_table: str | dict[str, Any] = Field(
        DEFAULT_TABLE, description="table by which neutrality is judged: a name, a file, or {symbol: [states]}"
    )
    mixed_valence: bool = Field(False, description="whether atoms of one element may differ in oxidation state")

    @field_validator("oxidation_table", mode="before")
    @classmethod
    def _table_stands_in_the_config(cls, value: Any) -> Any:
        """A file's content takes the place of its path, so that the resolved config repeats the run."""
        return resolve_table(value).spec()

    def _values(self) -> dict[str, Any]:
        """The fields as a space takes them."""
        values = self.model_dump(exclude={"kind"})
        values["required_groups"] = tuple(tuple(group) for group in values["required_groups"])
        for name in ("elements", "forbidden", "required"):
            values[name] = tuple(values[name])
        return values


class CompositionWorld(_ElementRules):
    """Reduced formulas."""

    kind: Literal["composition"] = Field("composition", description="composition, or wyckoff for crystals")
    n_atoms: tuple[int, int] = Field((2, 20), description="smallest and largest number of atoms in the reduced formula")
    count: tuple[int, int] = Field((1, 12), description="smallest and largest count of each element")
    count_by_element: dict[str, tuple[int, int]] = Field({}, description="exceptions to `count`, by symbol or preset")
    order: Literal["free", "canonical"] = Field("free", description="free: any build order; canonical: one per formula")

    def space(self) -> CompositionSpace:
        """The same as the kernel's own type, which checks what spans several fields."""
        return CompositionSpace(**self._values())

    def compositions(self) -> CompositionSpace:
        """The rules of the formulas."""
        return self.space()


class PartConfig(Closed):
    """One part of a prescribed formula unit."""

    elements: list[str] = Field(description="symbols and presets of which one stands here")
    amount: int = Field(1, ge=1, description="its atoms in the formula unit")


class WyckoffWorld(_ElementRules):
    """Crystals: a space group, elements on Wyckoff positions, lattice and coordinates."""

    kind: Literal["wyckoff"] = Field(description="wyckoff")
    space_groups: list[int | str] = Field(["all"], description="numbers, symbols, crystal systems, or all")
    n_atoms: tuple[int, int] = Field((2, 20), description="smallest and largest number of atoms in the cell")
    cell: Literal["primitive", "conventional"] = Field("primitive", description="the cell that `n_atoms` counts in")
    composition: str | None = Field(None, description="the one formula allowed, such as SrTiO3")
    chemical_system: str | None = Field(None, description="elements that must all occur and no others, such as Li-P-S")
    stoichiometry: list[PartConfig] = Field([], description="parts of the formula unit; each another element")
    geometry: bool = Field(True, description="lattice and coordinates are built too; false: the decoration alone")
    grid: int = Field(48, description="bins of a free coordinate: 24, 48, 72 or 96")
    length_bin: float = Field(0.03, description="ratio between neighbouring bins of axis ratios and volume, minus 1")
    angle_bin_deg: float = Field(2.0, description="width of the bins of free angles, degrees")
    axis_ratio_max: float = Field(16.0, description="largest b/a and c/a; the smallest is its inverse")
    volume_a3_per_atom: tuple[float, float] = Field(
        (4.0, 150.0), description="smallest and largest volume, A^3/atom; more where atoms would be too close otherwise"
    )
    min_distance_a: float = Field(0.5, description="no two atoms are closer, angstrom")
    min_contact: float = Field(0.7, description="nor closer than this share of the sum of their covalent radii")

    def space(self) -> WyckoffSpace:
        """The same as the kernel's own type, which checks what spans several fields."""
        values = self._values()
        values["space_groups"] = tuple(values["space_groups"])
        values["stoichiometry"] = tuple((tuple(part.elements), part.amount) for part in self.stoichiometry)
        return WyckoffSpace(**values)

    def compositions(self) -> CompositionSpace:
        """The rules of the formulas."""
        return self.space().compositions


def _kind(data: Any) -> Any:
    return data.get("kind", "composition") if isinstance(data, dict) else getattr(data, "kind", "composition")


World = Annotated[
    Annotated[CompositionWorld, Tag("composition")] | Annotated[WyckoffWorld, Tag("wyckoff")],
    Discriminator(
        _kind,
        custom_error_type="kind_of_world",
        custom_error_message="expected kind to be composition or wyckoff",
    ),
]
WORLDS = {"composition": CompositionWorld, "wyckoff": WyckoffWorld}
