"""The constraints of an alloy world, as a user states them and as compiled code reads them."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from oreflow.envs.arrays import Bools, Int16s, Ints
from oreflow.envs.chemistry.elements import atomic_number, resolve
from oreflow.envs.errors import EmptyWorldError, expect_range

MAX_STEPS_OF_CONCENTRATION = 1000
MAX_ELEMENTS_PER_ALLOY = 12


@dataclass(frozen=True)
class AlloySpace:
    """Which alloys exist: concentrations in steps of 1/N that sum to one.

    Equimolar alloys of k elements are among them where N is a multiple of k, as N = 60 is for k up to 6.

    Attributes:
        elements: symbols or preset names; resolved to distinct symbols ordered by atomic number.
        n_steps: N, the steps from nothing to everything: 20 makes concentrations multiples of 5 at.%.
        n_elements: smallest and largest number of distinct elements, inclusive.
        fraction: smallest and largest concentration of an element that is in the alloy, inclusive, rounded to steps
            inward.
        fraction_by_element: exceptions to `fraction`, by symbol or preset; later entries win.
        required: elements that must occur.
    """

    elements: tuple[str, ...] = field(metadata={"description": "symbols and preset names"})
    n_steps: int = field(
        default=20, metadata={"description": "concentrations are multiples of 1/n_steps; 60 holds all equimolar ones"}
    )
    n_elements: tuple[int, int] = field(
        default=(2, 5), metadata={"description": "smallest and largest number of distinct elements"}
    )
    fraction: tuple[float, float] = field(
        default=(0.0, 1.0), metadata={"description": "smallest and largest concentration of each element present"}
    )
    fraction_by_element: dict[str, tuple[float, float]] = field(
        default_factory=dict, metadata={"description": "exceptions to `fraction`, by symbol or preset"}
    )
    required: tuple[str, ...] = field(default=(), metadata={"description": "elements that must occur"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(sorted(resolve(self.elements), key=atomic_number)))
        own = {e: tuple(pair) for name, pair in self.fraction_by_element.items() for e in resolve(name)}
        object.__setattr__(self, "fraction_by_element", own)
        object.__setattr__(self, "required", tuple(sorted(resolve(self.required), key=atomic_number)))
        self._check()

    def _check(self) -> None:
        if not 2 <= self.n_steps <= MAX_STEPS_OF_CONCENTRATION:
            raise ValueError(f"expected n_steps from 2 to {MAX_STEPS_OF_CONCENTRATION}, got {self.n_steps}")
        if not self.elements:
            raise ValueError("expected at least one element, got none; list some in elements")
        for name, pair in {"n_elements": self.n_elements, "fraction": self.fraction}.items():
            expect_range(name, pair)
        low, high = self.n_elements
        most = min(len(self.elements), MAX_ELEMENTS_PER_ALLOY)
        if not 1 <= low <= high <= most:
            raise ValueError(
                f"expected n_elements = (low, high) with 1 <= low <= high <= {most}, got ({low}, {high}); "
                f"{len(self.elements)} elements are listed, and an alloy has at most {MAX_ELEMENTS_PER_ALLOY}"
            )
        for name, (least, largest) in {"fraction": self.fraction, **self.fraction_by_element}.items():
            if not 0 <= least <= largest <= 1:
                raise ValueError(
                    f"expected fractions from 0 to 1, the smaller first, got ({least:g}, {largest:g}) for {name}"
                )
        for symbol in (*self.required, *self.fraction_by_element):
            if symbol not in self.elements:
                raise ValueError(f"{symbol} is required or has its own fraction, but is not among elements; add it")

    @property
    def atomic_numbers(self) -> Int16s:
        """int16 [element], ascending."""
        return np.array([atomic_number(e) for e in self.elements], dtype=np.int16)

    def rules(self) -> "AlloyRules":
        """The constraints as arrays.

        Raises:
            EmptyWorldError: when a required element has no concentration within its range.
        """
        n = self.n_steps
        low, high = np.zeros(len(self.elements), dtype=np.int64), np.zeros(len(self.elements), dtype=np.int64)
        for e, symbol in enumerate(self.elements):
            least, largest = self.fraction_by_element.get(symbol, self.fraction)
            low[e] = max(math.ceil(least * n - 1e-9), 1)
            high[e] = math.floor(largest * n + 1e-9)
            if symbol in self.required and low[e] > high[e]:
                raise EmptyWorldError(
                    f"{symbol} is required, but no multiple of 1/{n} lies in its range ({least:g}, {largest:g}); widen "
                    "it, or raise n_steps"
                )
        must = np.array([e in self.required for e in self.elements])
        labels = list(zip(low.tolist(), high.tolist(), must.tolist()))
        # An element without a possible concentration is in no class, as it is in no alloy.
        classes = sorted({label for label in labels if label[0] <= label[1]})
        return AlloyRules(
            n=len(self.elements),
            n_steps=n,
            width=int(high.max(initial=1)),
            n_elements_min=max(self.n_elements[0], int(must.sum())),
            n_elements_max=self.n_elements[1],
            class_of=np.array([classes.index(label) if label in classes else -1 for label in labels], dtype=np.int64),
            class_low=np.array([label[0] for label in classes], dtype=np.int64),
            class_high=np.array([label[1] for label in classes], dtype=np.int64),
            class_required=np.array([label[2] for label in classes], dtype=np.bool_),
        )


class AlloyRules(NamedTuple):
    """The constraints of an `AlloySpace` as compiled code reads them; concentrations count in steps of 1/n_steps.

    Elements of one class have the same range and are all required, or none of them is.
    """

    n: int  # elements
    n_steps: int
    width: int  # columns of actions an element has: concentrations from 1 to width
    n_elements_min: int
    n_elements_max: int
    class_of: Ints  # [element], -1 for an element that no alloy has
    class_low: Ints  # [class]
    class_high: Ints  # [class]
    class_required: Bools  # [class]
