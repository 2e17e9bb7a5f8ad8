"""Worlds by name: what the section `world` of a config may describe, built in or of your own.

    from dataclasses import dataclass
    from oreflow.envs.registry import World, register_world

    @register_world("bits")
    @dataclass(frozen=True)
    class Bits(World):
        n: int = 8

        def kernel(self):
            return BitsKernel(self.n)

A config then says `world: {kind: bits, n: 12}`. Installed packages name such a class as an entry point of the group
`oreflow.worlds`, and files are given by `--plugin FILE.py`. `oreflow.envs.contract.check` tests the kernel.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from oreflow.envs.chemistry.oxidation import TableSpec
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.errors import PluginError, UnknownWorldError
from oreflow.envs.plugins import Registry

COMPOSITION, STRUCTURE = "composition", "structure"


@dataclass(frozen=True)
class ChargeRule:
    """How a world judges whether a formula is charge-neutral.

    Attributes:
        table: oxidation states, as `oreflow.envs.chemistry.oxidation.resolve_table` takes them.
        mixed_valence: whether atoms of one element may differ in oxidation state.
    """

    table: TableSpec
    mixed_valence: bool


class World(ABC):
    """Base class of worlds: make it a frozen dataclass, whose fields are the keys of `world` in a config.

    The fields' types are what a config is held to; a default makes a key optional, and
    `field(metadata={"description": ...})` gives it a line of prose. `__post_init__` may raise ValueError, for what
    spans several fields.

    Attributes:
        object_kind: what `kernel().objects(states)` gives: "composition" for `Compositions`, "structure" for
            `Crystals`, and otherwise the name that the world is registered under, which is the default. Reward terms
            name it in `requires`.
    """

    object_kind: ClassVar[str] = ""

    @abstractmethod
    def kernel(self) -> TransitionKernel:
        """Build the transition kernel.

        Raises:
            ValueError: when nothing can be built within the fields' values.
        """

    @property
    def charge_rule(self) -> ChargeRule | None:
        """How neutrality is judged; None where tables and summaries are to be silent about charges."""
        return None

    @property
    def has_geometry(self) -> bool:
        """Whether crystals have a lattice and coordinates; means nothing for other objects."""
        return True

    def symbols(self) -> tuple[str, ...]:
        """The elements that may occur; none where the world is no chemistry."""
        return ()

    def columns(self, objects: Any) -> Mapping[str, Sequence[Any]]:
        """Further columns of the candidate table: one value for each of `objects`."""
        return {}

    def summary(self, objects: Any) -> Mapping[str, Any]:
        """Further figures of a candidate set's summary; `objects` are its distinct ones, 4096 at most."""
        return {}


WORLDS = Registry(
    "world",
    "oreflow.worlds",
    {
        "composition": "oreflow.envs.composition.world:FormulaWorld",
        "wyckoff": "oreflow.envs.crystal.world:CrystalWorld",
        "alloy": "oreflow.envs.alloy.world:AlloyWorld",
    },
    UnknownWorldError,
)
OwnWorld = TypeVar("OwnWorld", bound=type[World])


def register_world(kind: str) -> Callable[[OwnWorld], OwnWorld]:
    """Register a world under `kind`, as a decorator of its dataclass.

    Raises:
        PluginError: when the name is taken, or the class is no frozen dataclass derived from `World`.
    """

    def add(world: OwnWorld) -> OwnWorld:
        world_class(kind, world)
        return WORLDS.register(kind)(world)

    return add


def world_class(kind: str, world: Any) -> type[World]:
    """Hold what is registered or installed as a world to what a config needs of it.

    Raises:
        PluginError: when it is something else than a frozen dataclass derived from `World`.
    """
    if not isinstance(world, type) or not issubclass(world, World):
        raise PluginError(f"world {kind!r}: expected a class derived from oreflow.envs.registry.World, got {world!r}")
    # A class that is derived from a dataclass, but is none itself, has fields that no config would see.
    if "__dataclass_params__" not in vars(world) or not vars(world)["__dataclass_params__"].frozen:
        raise PluginError(
            f"world {kind!r}: expected a frozen dataclass, got {world.__name__}; decorate it with "
            "@dataclass(frozen=True), below @register_world"
        )
    if not world.object_kind:
        world.object_kind = kind
    if "kind" in world.__dataclass_fields__:  # type: ignore[attr-defined]
        raise PluginError(f"world {kind!r}: the field 'kind' is what a config calls the world by; rename it")
    return world
