"""The constraints of a composition world, as a user states them and as compiled code reads them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from oreflow.envs.arrays import Int16s
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.elements import atomic_number, resolve
from oreflow.envs.chemistry.oxidation import TableSpec, oxidation_states, resolve_table
from oreflow.envs.composition.rules import Rules
from oreflow.envs.errors import EmptyWorldError, expect_range

MAX_ELEMENTS_PER_OBJECT = 12  # keeps the families of the feasibility table below their buffer
MAX_ELEMENTS_PER_NEUTRAL_OBJECT = 8  # beyond, solving the table for a hard charge rule takes minutes
MAX_GROUPS = 12


@dataclass(frozen=True)
class CompositionSpace:
    """Which reduced formulas exist.

    Attributes:
        elements: symbols or preset names; resolved to at most 94 distinct symbols ordered by atomic number.
        forbidden: symbols or preset names taken out of `elements`.
        n_elements: smallest and largest number of distinct elements, inclusive.
        n_atoms: smallest and largest number of atoms in the reduced formula, inclusive.
        count: smallest and largest count of each element, inclusive.
        count_by_element: exceptions to `count`, by symbol or preset; later entries win.
        required: elements that must occur.
        required_groups: lists of elements (or presets) of which at least one must occur.
        neutrality: "hard": only charge-neutral formulas exist; "soft" and "off": neutrality is no constraint
            ("soft" announces that a reward term pays for it).
        oxidation_table: the table by which neutrality is judged: a name, a file or a mapping
            (`envs.chemistry.oxidation`); stored as the `OxidationTable` that it stands for.
        mixed_valence: whether atoms of one element may differ in oxidation state. False: all atoms of an element share
            one state, as SMACT's default has it. True: each atom of the crystal, which holds many formula units, has
            its own, so that the mean state of an element is any fraction between its lowest and its highest.
        order: "free": elements are added in any order (a DAG); "canonical": by rising atomic number (a tree).
    """

    elements: tuple[str, ...] = ("mp84",)
    forbidden: tuple[str, ...] = ()
    n_elements: tuple[int, int] = (2, 4)
    n_atoms: tuple[int, int] = (2, 20)
    count: tuple[int, int] = (1, 12)
    count_by_element: dict[str, tuple[int, int]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    required_groups: tuple[tuple[str, ...], ...] = ()
    neutrality: str = "hard"
    oxidation_table: TableSpec = DEFAULT_TABLE
    mixed_valence: bool = False
    order: str = "free"

    def __post_init__(self) -> None:
        forbidden = set(resolve(self.forbidden))
        chosen = tuple(e for e in resolve(self.elements) if e not in forbidden)
        object.__setattr__(self, "elements", chosen)
        object.__setattr__(self, "forbidden", tuple(sorted(forbidden, key=atomic_number)))
        own = {e: pair for name, pair in self.count_by_element.items() for e in resolve(name)}
        object.__setattr__(self, "count_by_element", own)
        object.__setattr__(self, "required", resolve(self.required))
        object.__setattr__(self, "required_groups", tuple(resolve(group) for group in self.required_groups))
        object.__setattr__(self, "oxidation_table", resolve_table(self.oxidation_table))
        self._check()

    def _check(self) -> None:
        for name, pair in [
            ("n_elements", self.n_elements),
            ("n_atoms", self.n_atoms),
            ("count", self.count),
            *((f"count_by_element[{e!r}]", pair) for e, pair in self.count_by_element.items()),
        ]:
            expect_range(name, pair)
            low, high = pair
            if not 1 <= low <= high:
                raise ValueError(f"expected {name} = (low, high) with 1 <= low <= high, got ({low}, {high})")
        if not 1 <= len(self.elements) <= 94:
            raise ValueError(f"expected 1 to 94 elements, got {len(self.elements)} after taking out the forbidden ones")
        hard = self.neutrality == "hard"
        largest = MAX_ELEMENTS_PER_NEUTRAL_OBJECT if hard else MAX_ELEMENTS_PER_OBJECT
        if self.n_elements[1] > largest:
            rule = " under hard neutrality; choose soft for more" if hard else ""
            raise ValueError(f"expected at most {largest} elements per formula, got {self.n_elements[1]}{rule}")
        if self.count[0] > self.n_atoms[1]:
            raise ValueError(
                f"expected count to start at or below the largest n_atoms, got count from {self.count[0]} and n_atoms "
                f"up to {self.n_atoms[1]}; lower count or raise n_atoms"
            )
        if not all(self.required_groups):
            raise ValueError("expected elements in each of required_groups, got an empty list; fill it or take it out")
        if self.n_atoms[1] > 200:
            raise ValueError(f"expected n_atoms of at most 200, got {self.n_atoms[1]}")
        for name, value, known in [
            ("neutrality", self.neutrality, ("hard", "soft", "off")),
            ("order", self.order, ("free", "canonical")),
        ]:
            if value not in known:
                raise ValueError(f"expected {name} to be one of {', '.join(known)}; got {value!r}")
        for symbol in (*self.required, *resolve(self.count_by_element)):
            if symbol not in self.elements:
                raise ValueError(f"{symbol} is required or has its own count range, but is not among the elements")
        for group in self.required_groups:
            if not set(group) & set(self.elements):
                raise ValueError(f"expected an element of the required group {', '.join(group)} among the elements")
        if len(self.required) + len(self.required_groups) > MAX_GROUPS:
            raise ValueError(f"expected at most {MAX_GROUPS} required elements and groups together")

    @property
    def atomic_numbers(self) -> Int16s:
        """int16 [n]: atomic number by element index."""
        return np.array([atomic_number(e) for e in self.elements], dtype=np.int16)

    def rules(self, layout: Rules | None = None, barred: Mapping[str, int] | None = None) -> Rules:
        """The constraints as arrays.

        Args:
            layout: rules of the same elements whose columns of actions are kept, though fewer may be in use.
            barred: by symbol, a count within its range that it may not have.

        Raises:
            EmptyWorldError: when a required element has no oxidation state under a hard constraint.
        """
        n, hard = len(self.elements), self.neutrality == "hard"
        table = oxidation_states(self.oxidation_table)
        ranges = [self.count_by_element.get(e, self.count) for e in self.elements]
        ranges = [(low, min(high, self.n_atoms[1])) for low, high in ranges]
        if hard:
            charges = [table.get(atomic_number(e), ()) for e in self.elements]
        else:
            charges = [(0,)] * n
        for symbol in self.required:
            if not charges[self.elements.index(symbol)]:
                raise EmptyWorldError(
                    f"{symbol} is required, but has no oxidation state in the table '{self.oxidation_table}'; "
                    "choose another table, or set neutrality to soft or off"
                )
        groups = [{symbol} for symbol in self.required] + [set(group) for group in self.required_groups]
        element_groups = [sum(1 << b for b, group in enumerate(groups) if e in group) for e in self.elements]

        without = [(barred or {}).get(e, 0) for e in self.elements]
        labels = list(zip(charges, ranges, element_groups, without))
        classes = sorted(set(labels))
        class_of = np.array([classes.index(label) for label in labels])
        count_min = min(low for low, _ in ranges)
        width = max(high for _, high in ranges) - count_min + 1
        if layout is not None:
            count_min, width = layout.count_min, layout.width
        if width < 1:
            raise EmptyWorldError("every element's smallest count exceeds the largest n_atoms; lower count_by_element")
        lowest, highest = self._charge_window([c for states in charges for c in states])
        deltas: list[int] = []
        delta_start = [0]
        for states, (low, high), _, none in classes:
            for count in range(count_min, count_min + width):
                if low <= count <= high and count != none:  # without a charge, no addition leads there
                    sums: Iterable[int] = {state * count for state in states}
                    if self.mixed_valence and states:
                        sums = range(count * min(states), count * max(states) + 1)
                    deltas.extend(sorted(d for d in sums if abs(d) <= highest - lowest))
                delta_start.append(len(deltas))

        largest = count_min + width - 1
        radicals = sorted({_radical(g) for g in range(1, largest + 1)})
        index = {radical: i + 1 for i, radical in enumerate(radicals)}
        next_radical = np.zeros((len(radicals) + 1, width), dtype=np.int64)
        for column in range(width):
            next_radical[0, column] = index[_radical(column + count_min)]
            for radical, i in index.items():
                next_radical[i, column] = index[math.gcd(radical, column + count_min)]
        return Rules(
            n=n,
            n_elements_min=self.n_elements[0],
            n_elements_max=min(self.n_elements[1], n),
            n_atoms_min=self.n_atoms[0],
            n_atoms_max=self.n_atoms[1],
            count_min=count_min,
            width=width,
            all_groups=(1 << len(groups)) - 1,
            canonical=self.order == "canonical",
            class_of=class_of,
            class_groups=np.array([label[2] for label in classes]),
            class_low=np.array([label[1][0] for label in classes]),
            class_high=np.array([label[1][1] for label in classes]),
            member_start=np.concatenate([[0], np.cumsum(np.bincount(class_of, minlength=len(classes)))]),
            members=np.argsort(class_of, kind="stable"),
            element_groups=np.array(element_groups),
            delta_start=np.array(delta_start),
            deltas=np.array(deltas, dtype=np.int64),
            next_radical=next_radical,
            coprime=index[1],
            n_charges=highest - lowest + 1,
            zero_charge=-lowest,
        )

    def _charge_window(self, states: list[int]) -> tuple[int, int]:
        """Lowest and highest charge (e) that a part of a neutral object with `n_atoms` atoms can carry."""
        up, down, atoms = max(states, default=0), -min(states, default=0), self.n_atoms[1]
        highest = max(min(a * up, (atoms - a) * down) for a in range(atoms + 1))
        lowest = max(min(a * down, (atoms - a) * up) for a in range(atoms + 1))
        return -max(lowest, 0), max(highest, 0)


def _radical(number: int) -> int:
    """Product of the distinct primes of `number`: all that a common divisor is asked."""
    radical, prime = 1, 2
    while number > 1:
        if number % prime == 0:
            radical *= prime
            while number % prime == 0:
                number //= prime
        prime += 1
    return radical
