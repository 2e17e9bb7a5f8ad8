"""What every structure term starts from: cells with atoms, their compositions, and why a cell has no value."""

from collections.abc import Callable

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals

MIN_VOLUME_A3_PER_ATOM = 0.1  # no crystal is denser; below it neighbours within a cutoff are too many to count


def as_atoms(batch: Atoms | Crystals) -> Atoms:
    """The atoms of primitive cells, or the cells as they are given.

    Raises:
        ValueError: for crystals without geometry; `oreflow.rewards.contract.evaluation` calls a term without them.
    """
    return batch if isinstance(batch, Atoms) else batch.atoms()


def cell_numbers(atoms: Atoms) -> Ints:
    """int64 [atom], the cell that each atom is in."""
    return np.repeat(np.arange(len(atoms)), np.diff(atoms.offsets))


def compositions_of(atoms: Atoms) -> Compositions:
    """What is in each cell, not reduced."""
    keys, counts = np.unique(cell_numbers(atoms) * (N_ELEMENTS + 1) + atoms.atomic_numbers, return_counts=True)
    cell, number = np.divmod(keys, N_ELEMENTS + 1)
    n_elements = np.bincount(cell, minlength=len(atoms))
    slot = np.arange(len(keys)) - np.repeat(np.cumsum(n_elements) - n_elements, n_elements)
    pairs = np.zeros((len(atoms), max(n_elements.max(initial=1), 1), 2), dtype=np.int64)
    pairs[cell, slot] = np.stack([number, counts], axis=-1)
    return Compositions(pairs[..., 0].astype(np.int16), pairs[..., 1].astype(np.int32))


def element_means(atoms: Atoms, values: Floats) -> Floats:
    """Mean over the atoms of each cell, float64 [batch], of `values` [119] by atomic number; NaN where one is."""
    sums = np.bincount(cell_numbers(atoms), weights=values[atoms.atomic_numbers], minlength=len(atoms))
    return sums / np.maximum(np.diff(atoms.offsets), 1)


def volumes_per_atom(atoms: Atoms) -> Floats:
    """Volume per atom in cubic angstrom, float64 [batch]; NaN without atoms and for cells without volume."""
    n_atoms, volumes = np.diff(atoms.offsets), atoms.volumes
    usable = (n_atoms > 0) & (volumes > 1e-9) & np.isfinite(volumes)
    return np.divide(volumes, n_atoms, out=np.full(len(atoms), np.nan), where=usable)


def reasons_for(
    atoms: Atoms, valid: Bools, unknown: Bools, what: str, otherwise: Callable[[int], str] | str = ""
) -> dict[int, str]:
    """Why the rows that are not valid have no value.

    Args:
        valid: bool [batch].
        unknown: bool [119], elements that the term knows nothing of.
        what: what it does not know, such as "covalent radius".
        otherwise: what to say, or a function of the row that says it, where atoms, cell and elements are in order.
    """
    reasons, usable = {}, np.isfinite(volumes_per_atom(atoms))
    for row in np.flatnonzero(~valid).tolist():
        numbers = np.unique(atoms.atomic_numbers[atoms.offsets[row] : atoms.offsets[row + 1]])
        missing = [symbols()[z] for z in numbers.tolist() if unknown[z]]
        if not len(numbers):
            reasons[row] = "a cell without atoms"
        elif not usable[row]:
            reasons[row] = "a cell without volume, or with vectors that are not finite"
        elif missing:
            reasons[row] = f"no {what} of {', '.join(missing)}"
        else:
            reasons[row] = otherwise if isinstance(otherwise, str) else otherwise(row)
    return reasons
