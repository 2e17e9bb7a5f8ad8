"""Novelty: whether a formula is absent from a list of known ones."""

from pathlib import Path

import numpy as np

from oreflow.envs.arrays import Bools, Ints, UInt64s
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.reference.known_phases import read_reference

# Odd constants of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), which spreads every input bit over the word.
_STEP, _MIX_1, _MIX_2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class KnownFormulas:
    """A set of reduced formulas that answers for whole batches at once.

    Args:
        compositions: the known ones, in any order and multiple.
    """

    def __init__(self, compositions: Compositions) -> None:
        keys = np.unique(compositions.keys(), axis=0) if len(compositions) else np.zeros((0, 1), dtype=np.int64)
        self._seed = np.uint64(0)
        while True:
            hashes = _hashes(keys, self._seed)
            order = np.argsort(hashes, kind="stable")
            self._hashes, self._keys = hashes[order], keys[order]
            if not (self._hashes[1:] == self._hashes[:-1]).any():
                return
            self._seed += np.uint64(1)  # two formulas share a hash: hash all of them otherwise

    def contain(self, batch: Compositions) -> Bools:
        """bool [batch]: whether each reduced formula is among the known ones, by integer keys, exactly."""
        if not len(self._hashes) or not len(batch):
            return np.zeros(len(batch), dtype=np.bool_)
        keys = batch.keys()
        place = np.searchsorted(self._hashes, _hashes(keys, self._seed))
        found = self._keys[np.minimum(place, len(self._hashes) - 1)]
        shared = min(keys.shape[1], found.shape[1])
        same = (keys[:, :shared] == found[:, :shared]).all(axis=1)
        return same & ~keys[:, shared:].any(axis=1) & ~found[:, shared:].any(axis=1)


def _hashes(keys: Ints, seed: np.uint64) -> UInt64s:
    """uint64 [row] of int64 keys [row, slot]; slots of 0, which pad, leave a hash as it is."""
    out = np.full(len(keys), seed, dtype=np.uint64)
    for slot in range(keys.shape[1]):
        key = keys[:, slot].astype(np.uint64)
        mixed = (out ^ key) + _STEP
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        out = np.where(key == 0, out, mixed ^ (mixed >> np.uint64(31)))
    return out


class Novelty(Term):
    """1 where the reduced formula is not in the user's list of known formulas, 0 where it is.

    Whether a formula is new says nothing of its structure: a known formula may crystallise in an unknown one.

    The column `is_known` holds the opposite. Invalid is a composition without elements only.
    """

    name = "novelty"
    unit = "verdict"
    citations: tuple[str, ...] = ()
    path_params = ("reference",)

    def __init__(self, reference: str | Path, formula_column: str | None = None, sha256: str | None = None) -> None:
        """Reads the list.

        Args:
            reference: a CSV, CSV.gz or Parquet file with a column of formulas, or a JSON file of entries.
            formula_column: its name; by default `formula_reduced`, `formula`, `formula_pretty` or `composition`.
            sha256: when given, what the file's SHA-256 must be.

        Raises:
            TableError: when the file is missing, damaged, or has no such column.
            ReferenceTableError: when no formula can be read, or the hash is another.
        """
        self.reference = read_reference(reference, energies=False, formula_column=formula_column, sha256=sha256)
        self.reference.warn()
        self.version = f"1-{self.reference.version}"
        self._known = KnownFormulas(self.reference.compositions)

    def __call__(self, batch: Compositions) -> TermValues:
        """Verdict of every row."""
        known = self._known.contain(batch)
        valid = batch.n_elements > 0
        reasons = dict.fromkeys(np.flatnonzero(~valid).tolist(), "a composition without elements")
        return TermValues(np.where(known, 0.0, 1.0), valid, {"is_known": known}, reasons)
