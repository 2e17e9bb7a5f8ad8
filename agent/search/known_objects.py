"""Objects of known compounds with other elements in the places of theirs: what two baselines have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from oreflow.agent.errors import TrainingError
from oreflow.agent.search.searcher import Score
from oreflow.envs.arrays import Arrays, Bools, Floats, Int8s, Int16s, Ints, States
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals

KnownObjects = Compositions | Crystals

_LEAST_TRIED = 1024  # draws at a time, of which few may be objects of the world
_MOST_TRIED = 1_000_000  # draws in a row without one
OTHER_SIZE = "of a number of elements or atoms, or a space group, that the world does not have"


class Sources(NamedTuple):
    """Known objects to start from.

    Attributes:
        objects: formulas, or decorations.
        charges: int64 [object, slot], the charge (e) of the atoms of each element of `objects.formula_units()`, 0 where
            there is none; where a search needs no charges, empty.
        left_out: how many known objects are not among them, by reason.
    """

    objects: KnownObjects
    charges: Ints
    left_out: dict[str, int]


class KnownObjectSearcher(ABC):
    """Draws objects from known ones, and draws anew what is no object of the world; the reward plays no part.

    Args:
        kernel: of formulas or of decorations.
        sources: gives what is started from; called once, and never where `load_arrays` has given it.

    Subclasses say how one is drawn, in `_draw`.
    """

    scores_states = False

    def __init__(self, kernel: TransitionKernel, sources: Callable[[], Sources]) -> None:
        self.kernel = kernel
        self._open = sources
        self._sources: Sources | None = None

    @property
    def sources(self) -> Sources:
        """What is started from."""
        if self._sources is None:
            self._sources = self._open()
        return self._sources

    @abstractmethod
    def _draw(self, n: int, rng: np.random.Generator) -> KnownObjects:
        """At most n objects drawn, of which the kernel may know some."""

    def propose(self, n: int, rng: np.random.Generator) -> States:
        """Propose terminal states whose reward is wanted next, [n, *state_shape].

        Raises:
            TrainingError: when a million draws in a row are no objects of the world.
        """
        parts: list[np.ndarray] = []
        n_found = n_tried = 0
        while n_found < n:
            at_a_time = max(n, _LEAST_TRIED)
            parts.append(_inside(self.kernel, self._draw(at_a_time, rng)))
            n_found += len(parts[-1])
            n_tried = 0 if len(parts[-1]) else n_tried + at_a_time
            if n_tried >= _MOST_TRIED:
                raise TrainingError(
                    f"expected objects of the world among {n_tried} draws from {len(self.sources.objects)} known "
                    "ones, got none; widen the world, or name more known compounds"
                )
        return np.concatenate(parts)[:n] if parts else self.kernel.initial(0)

    def tell(self, log_reward: Floats, rng: np.random.Generator) -> dict[str, float]:
        """Take log R, float64 [n], of the states just proposed, NaN where invalid; return figures for the log."""
        return {}

    def arrays(self) -> Arrays:
        """Give all that is needed to go on exactly, by name: the file of known compounds is not read again."""
        objects, charges, _ = self.sources
        if isinstance(objects, Crystals):
            names: tuple[str, ...] = ("space_group", "site_offsets", "letter", "atomic_number")
        else:
            names = ("atomic_numbers", "counts")
        return {name: np.array(getattr(objects, name)) for name in names} | {"charges": charges.copy()}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up the state that `arrays` gave."""
        given = {name: array for name, array in arrays.items() if name != "charges"}
        objects = _decorations(**given) if "letter" in given else Compositions(**given)
        self._sources = Sources(objects, np.array(arrays["charges"]), {})

    def draw(self, n: int, rng: np.random.Generator, score: Score) -> States:
        """Draw afresh, whether the reward is valid or not; `score` is not called."""
        return self.propose(n, rng)


def with_elements(objects: KnownObjects, rows: Ints, elements: Int16s) -> KnownObjects:
    """Objects of these rows with other elements; crystals lose their geometry.

    Args:
        elements: int [row, slot], distinct within a row: atomic numbers in the places of those of
            `objects.formula_units().atomic_numbers[rows]`; 0 where these are.
    """
    if isinstance(objects, Compositions):
        return Compositions(elements, objects.counts[rows])
    chosen = objects[rows]
    crystal = np.repeat(np.arange(len(rows)), np.diff(chosen.site_offsets))
    slot = (chosen.formula_units().atomic_numbers[crystal] == chosen.atomic_number[:, None]).argmax(axis=1)
    return _decorations(chosen.space_group, chosen.site_offsets, chosen.letter, elements[crystal, slot])


def distinct(objects: KnownObjects) -> KnownObjects:
    """Formulas, or decorations without their geometry, each once, in their order."""
    if isinstance(objects, Crystals):
        objects = _decorations(objects.space_group, objects.site_offsets, objects.letter, objects.atomic_number)
    else:
        objects = objects.reduced()
    keys = objects.key_bytes()
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    return objects[np.array(sorted(first.values()), dtype=np.int64)]


def narrowed(objects: KnownObjects) -> KnownObjects:
    """The same objects, formulas with as many slots as the largest of them needs."""
    if isinstance(objects, Crystals):
        return objects
    width = int(objects.n_elements.max(initial=1))
    return Compositions(objects.atomic_numbers[:, :width], objects.counts[:, :width])


def fit_in(objects: KnownObjects, space: CompositionSpace | WyckoffSpace) -> Bools:
    """bool [object]: whether numbers of elements and atoms, and the space group, are those of a world.

    No exchange of elements changes them.
    """
    units = objects.formula_units()
    compositions = space.compositions if isinstance(space, WyckoffSpace) else space
    (least, most), (low, high) = compositions.n_elements, compositions.n_atoms
    fits = (least <= units.n_elements) & (units.n_elements <= most)
    if not isinstance(objects, Crystals):
        return fits & (low <= units.n_atoms) & (units.n_atoms <= high)
    assert isinstance(space, WyckoffSpace)
    n_atoms = objects.compositions.n_atoms
    if space.cell == "conventional":
        crystal = np.repeat(np.arange(len(objects)), np.diff(objects.site_offsets))
        n_atoms = np.bincount(crystal, objects.multiplicity, minlength=len(objects)).astype(np.int64)
    return fits & (low <= n_atoms) & (n_atoms <= high) & np.isin(objects.space_group, space.space_groups)


def _decorations(space_group: Int16s, site_offsets: Ints, letter: Int8s, atomic_number: Int16s) -> Crystals:
    lattice, parameters = np.full((len(space_group), 6), np.nan), np.full((len(letter), 3), np.nan)
    return Crystals(space_group, site_offsets, letter, atomic_number, lattice, parameters)


def _inside(kernel: TransitionKernel, objects: KnownObjects) -> States:
    """States of those that are objects of the world."""
    if not len(objects):
        return kernel.initial(0)
    found = kernel.find(objects)  # type: ignore[attr-defined]
    return found[0][found[1]]
