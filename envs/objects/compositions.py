"""A batch of compositions as integer arrays: what environments emit and rewards read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from oreflow.envs.arrays import AnyInts, Bools, Int16s, Int32s, Ints
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols


@dataclass(frozen=True)
class Compositions:
    """Compositions as padded pairs (atomic number, count), one row each.

    Attributes:
        atomic_numbers: int16 [batch, slot], strictly ascending within a row (sorted on construction where not); 0
            pads on the right.
        counts: int32 [batch, slot], positive where `atomic_numbers` is; 0 pads.

    Both arrays are read-only: a reward that tries to change its input raises.

    Raises:
        ValueError: for arrays of other shapes, an element twice in a row, and numbers that are no elements or counts.
    """

    kind: ClassVar[str] = "composition"
    atomic_numbers: Int16s
    counts: Int32s

    def __post_init__(self) -> None:
        # Views, so that the caller's own arrays stay writeable.
        object.__setattr__(self, "atomic_numbers", np.ascontiguousarray(self.atomic_numbers, dtype=np.int16).view())
        object.__setattr__(self, "counts", np.ascontiguousarray(self.counts, dtype=np.int32).view())
        if self.atomic_numbers.ndim != 2 or self.atomic_numbers.shape != self.counts.shape:
            raise ValueError(
                "expected atomic_numbers and counts of one shape [batch, slot], "
                f"got {self.atomic_numbers.shape} and {self.counts.shape}"
            )
        self._in_order()
        self.atomic_numbers.setflags(write=False)
        self.counts.setflags(write=False)

    def _in_order(self) -> None:
        """Bring elements into ascending order where they are not; keys and hulls rely on it."""
        z, n = self.atomic_numbers, self.counts
        wrong = (z < 0) | (z > N_ELEMENTS) | ((z > 0) != (n > 0))
        if wrong.any():
            row = int(np.flatnonzero(wrong.any(axis=1))[0])
            raise ValueError(
                f"expected atomic numbers from 1 to {N_ELEMENTS} with positive counts, and 0 with 0 behind them, got "
                f"{z[row].tolist()} and {n[row].tolist()} in row {row}"
            )
        left, right = z[:, :-1], z[:, 1:]
        unsorted = ((right > 0) & (right <= left)).any(axis=1) | ((left == 0) & (right > 0)).any(axis=1)
        if not unsorted.any():
            return
        order = np.argsort(np.where(z > 0, z, N_ELEMENTS + 1), axis=1, kind="stable")
        z, n = np.take_along_axis(z, order, axis=1), np.take_along_axis(n, order, axis=1)
        twice = ((z[:, 1:] == z[:, :-1]) & (z[:, 1:] > 0)).any(axis=1)
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            raise ValueError(
                f"expected each element once in a row, got {self.atomic_numbers[row].tolist()} in row {row}; add the "
                "counts, as Compositions.from_dicts does"
            )
        object.__setattr__(self, "atomic_numbers", z)
        object.__setattr__(self, "counts", n)

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    def __getitem__(self, index: slice | AnyInts | Bools) -> "Compositions":
        return Compositions(self.atomic_numbers[index], self.counts[index])

    @staticmethod
    def from_dicts(dicts: Sequence[dict[int, int]]) -> "Compositions":
        """From mappings of atomic number to count."""
        width = max((len(d) for d in dicts), default=1)
        atomic_numbers = np.zeros((len(dicts), max(width, 1)), dtype=np.int16)
        counts = np.zeros(atomic_numbers.shape, dtype=np.int32)
        for row, d in enumerate(dicts):
            for slot, z in enumerate(sorted(d)):
                atomic_numbers[row, slot] = z
                counts[row, slot] = d[z]
        return Compositions(atomic_numbers, counts)

    @staticmethod
    def concatenate(batches: Sequence["Compositions"]) -> "Compositions":
        """Rows of all batches, in order, padded to the widest."""
        width = max(b.atomic_numbers.shape[1] for b in batches)
        parts = [np.pad(b.pairs(), ((0, 0), (0, width - b.atomic_numbers.shape[1]), (0, 0))) for b in batches]
        pairs = np.concatenate(parts)
        return Compositions(pairs[..., 0].astype(np.int16), pairs[..., 1])

    def pairs(self) -> Int32s:
        """int32 [batch, slot, 2]: atomic number and count."""
        return np.stack([self.atomic_numbers.astype(np.int32), self.counts], axis=-1)

    @property
    def n_elements(self) -> Ints:
        """int64 [batch]: number of distinct elements."""
        return (self.atomic_numbers > 0).sum(axis=1)

    @property
    def n_atoms(self) -> Ints:
        """int64 [batch]: atoms in the formula unit."""
        return self.counts.sum(axis=1, dtype=np.int64)

    def reduced(self) -> "Compositions":
        """Counts divided by their greatest common divisor."""
        divisor = np.gcd.reduce(self.counts, axis=1, keepdims=True)
        return Compositions(self.atomic_numbers, self.counts // np.maximum(divisor, 1))

    def formula_units(self) -> "Compositions":
        """Return what is compared with known formulas: the compositions themselves, as `Crystals` have it too.

        The counts stay as they are, for the worlds count atoms; `reduced` divides them.
        """
        return self

    def keys(self) -> Ints:
        """Canonical integer keys, int64 [batch, slot]: equal rows mean equal reduced formulas.

        Rows of batches with different widths compare after padding with zeros on the right.
        """
        reduced = self.reduced()
        return (reduced.atomic_numbers.astype(np.int64) << 32) | reduced.counts

    def key_bytes(self) -> list[bytes]:
        """The keys as hashable bytes, independent of the batch's width."""
        return [row[row > 0].tobytes() for row in self.keys()]

    def dense(self) -> Int32s:
        """int32 [batch, 119]: count by atomic number; column 0 stays empty."""
        out = np.zeros((len(self), N_ELEMENTS + 1), dtype=np.int32)
        np.put_along_axis(out, self.atomic_numbers.astype(np.int64), self.counts, axis=1)
        out[:, 0] = 0
        return out

    def labels(self) -> list[str]:
        """What messages call the items: their formulas."""
        return self.formulas()

    def fault(self) -> str:
        """What is wrong with the pairs; rewards compare and look up compositions as if nothing were."""
        z, n = self.atomic_numbers.astype(np.int64), self.counts
        faults = [
            ((z < 0) | (z > N_ELEMENTS), f"atomic numbers from 1 to {N_ELEMENTS}, and 0 for padding"),
            ((z > 0) != (n > 0), "a positive count for each element, and 0 where atomic_numbers is padded"),
        ]
        if z.shape[1] > 1:
            unsorted = np.zeros(z.shape, dtype=np.bool_)
            unsorted[:, 1:] = (z[:, 1:] > 0) & (z[:, 1:] <= z[:, :-1])
            faults.append((unsorted, "atomic numbers strictly ascending, padding last; sort them, with their counts"))
        for wrong, expected in faults:
            if wrong.any():
                row = int(np.flatnonzero(wrong.any(axis=1))[0])
                return f"expected {expected}; item {row} has {z[row].tolist()} with counts {n[row].tolist()}"
        return ""

    def formulas(self) -> list[str]:
        """Formulas in alphabetical order of symbols, as OPTIMADE's `chemical_formula_reduced`, not reduced here."""
        names = symbols()
        out = []
        for zs, ns in zip(self.atomic_numbers.tolist(), self.counts.tolist()):
            parts = sorted((names[z], n) for z, n in zip(zs, ns) if z)
            out.append("".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in parts))
        return out
