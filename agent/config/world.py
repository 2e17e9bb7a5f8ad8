"""The section `world` of a config: what may be built.

Compositions and crystals have sections of their own here, with names and defaults that old runs rely on. The section of
any other world is made from the fields of its dataclass.
"""

import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import BeforeValidator, Field, SerializeAsAny, create_model, field_validator
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticCustomError

from oreflow.agent.config.closed_model import Closed
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.oxidation import resolve_table
from oreflow.envs.errors import OreflowError, PluginError, UnknownWorldError
from oreflow.envs.registry import WORLDS, ChargeRule, World, world_class


class WorldSection(Closed):
    """What the sections of all worlds have in common."""

    if TYPE_CHECKING:  # each section declares its own, in its own place
        kind: str

    def space(self) -> World:
        """The world that the fields describe.

        Raises:
            ValueError: when they do not go together.
        """
        raise NotImplementedError

    def charge_rule(self) -> ChargeRule | None:
        """How neutrality is judged; None where tables and summaries are to be silent about charges."""
        return self.space().charge_rule

    def terms_needed(self) -> dict[str, str]:
        """Reward terms that the world cannot do without, and why."""
        return {}

    def settle(self) -> str:
        """Bend defaults to what is stated, and return what is wrong with that; "" where all is well."""
        return ""


class _ElementRules(WorldSection):
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
    start: str | None = Field(
        None, description='a partial object that all objects complete, such as "Li3 P ?" or "221: Sr@1a Ti ?"'
    )

    @field_validator("oxidation_table", mode="before")
    @classmethod
    def _table_stands_in_the_config(cls, value: Any) -> Any:
        """A file's content takes the place of its path, so that the resolved config repeats the run."""
        return resolve_table(value).spec()

    def charge_rule(self) -> ChargeRule:
        """The rule as the config states it."""
        return ChargeRule(self.oxidation_table, self.mixed_valence)

    def terms_needed(self) -> dict[str, str]:
        """The term that pays for neutrality where it is soft."""
        if self.neutrality != "soft":
            return {}
        return {
            "charge_balance": "world.neutrality is soft, so reward.terms must hold charge_balance, which pays for "
            "neutrality; add it, or choose hard or off"
        }

    def settle(self) -> str:
        """Bend the default of `n_elements` to a short list of elements; a stated range does not bend."""
        n_listed = len(self.space().symbols())
        if "n_elements" not in self.model_fields_set:
            low, high = self.n_elements
            self.n_elements = (min(low, n_listed), min(high, n_listed))
        if self.n_elements[1] > n_listed:
            return (
                f"world.n_elements: expected at most {n_listed}, the number of elements listed, got "
                f"{self.n_elements[1]}; lower it or add to world.elements"
            )
        return ""

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

    def space(self) -> World:
        """The same as the kernel's own type, which checks what spans several fields."""
        made: World = WORLDS.find(self.kind)(**self._values())
        return made


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

    def settle(self) -> str:
        """As in `_ElementRules`, where nothing else says how many elements there are."""
        return "" if self.composition or self.chemical_system or self.stoichiometry else super().settle()

    def space(self) -> World:
        """The same as the kernel's own type, which checks what spans several fields."""
        values = self._values()
        values["space_groups"] = tuple(values["space_groups"])
        values["stoichiometry"] = tuple((tuple(part.elements), part.amount) for part in self.stoichiometry)
        made: World = WORLDS.find(self.kind)(**values)
        return made


class OwnWorldSection(WorldSection):
    """A world that is described by its dataclass alone; its fields are added to this class."""

    def space(self) -> World:
        """The dataclass, which checks what spans several fields.

        Raises:
            PluginError: when it fails otherwise than by ValueError.
        """
        names = [name for name in type(self).model_fields if name != "kind"]
        made: type[World] = WORLDS.find(self.kind)
        try:
            return made(**{name: getattr(self, name) for name in names})
        except (OreflowError, ValueError):
            raise
        except Exception as error:
            raise PluginError(
                f"world {self.kind!r} ({WORLDS.origin(self.kind)}) cannot be made from its fields: "
                f"{type(error).__name__}: {error}"
            ) from error


_SECTIONS: dict[str, type[WorldSection]] = {"composition": CompositionWorld, "wyckoff": WyckoffWorld}


def section_of(kind: str) -> type[WorldSection]:
    """The section of a config that describes worlds of a kind: its fields, their types and defaults.

    Raises:
        PluginError: when no such world is known, or its dataclass has a field that no config can hold.
    """
    if kind in _SECTIONS and WORLDS.is_built_in(kind):
        return _SECTIONS[kind]
    return _from_dataclass(kind, world_class(kind, WORLDS.find(kind)))


@cache
def _from_dataclass(kind: str, world: type[World]) -> type[WorldSection]:
    where = f"world {kind!r} ({WORLDS.origin(kind)})"
    entries: dict[str, Any] = {"kind": (Literal[kind], Field(description=f"{kind}"))}
    hints = get_type_hints(world, include_extras=True)
    for field in dataclasses.fields(world):  # type: ignore[arg-type]
        if not field.init:
            continue
        if hasattr(OwnWorldSection, field.name):
            raise PluginError(f"{where}: a config cannot have a key {field.name!r}; rename the field")
        default: Any = ... if field.default is dataclasses.MISSING else field.default
        given = {"default": default} if field.default_factory is dataclasses.MISSING else {}
        if not given:
            given = {"default_factory": field.default_factory}
        entries[field.name] = hints[field.name], Field(**given, description=field.metadata.get("description"))
    try:
        return create_model(world.__name__, __base__=OwnWorldSection, __doc__=world.__doc__, **entries)
    except PydanticUserError as error:
        what = str(error).partition("\n")[0]
        raise PluginError(
            f"{where}: a config cannot hold one of its fields: {what}; use numbers, text, truth values, and tuples, "
            "lists or dicts of these"
        ) from error


def _as_section(data: Any) -> Any:
    """The section that the key `kind` asks for, which is composition by default."""
    if isinstance(data, WorldSection) or not isinstance(data, dict):
        return data
    kind = data.get("kind", "composition")
    try:
        section = section_of(kind) if isinstance(kind, str) else None
    except UnknownWorldError:
        section = None
    if section is None:
        raise PydanticCustomError("kind_of_world", "expected the name of a world")
    return section.model_validate(data)


# Which section it is depends on plug-ins, so that no union of types can name them all.
AnyWorld = Annotated[SerializeAsAny[WorldSection], BeforeValidator(_as_section)]
