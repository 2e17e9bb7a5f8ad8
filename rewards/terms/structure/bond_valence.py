"""Bond valences: whether the bonds of every atom add up to the charge that it is given.

Data: `rewards/data/bond_valence.csv`, see `rewards/data/README.md` for its origin. Loaded once, on first use.
"""

import csv
import math
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Int8s, States
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.elements import N_ELEMENTS, electronegativities, symbols
from oreflow.envs.chemistry.oxidation import TableSpec, oxidation_matrix, resolve_table
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.chemistry.oxidation_rules import expect_bool, independent_elements, missing_states
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.terms.structure.cells import (
    MIN_VOLUME_A3_PER_ATOM,
    as_atoms,
    cell_numbers,
    compositions_of,
    reasons_for,
    volumes_per_atom,
)

SOFTNESS_ANGSTROM = 0.37
CUTOFF_ANGSTROM = 6.0


@cache
def bond_lengths() -> Floats:
    """Length R_ij of a bond of valence 1 by the two atomic numbers, angstrom, float64 [119, 119]; NaN where unknown.

    R_ij = r_i + r_j - r_i r_j (√c_i - √c_j)² / (c_i r_i + c_j r_j), with the elements' r and c of O'Keeffe and Brese.
    """
    r, c = np.full(N_ELEMENTS + 1, np.nan), np.full(N_ELEMENTS + 1, np.nan)
    with files("oreflow.rewards").joinpath("data/bond_valence.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            z = int(row["atomic_number"])
            r[z], c[z] = float(row["r_angstrom"]), float(row["c"])
    product, weighted = np.outer(r, r), c * r
    values = np.add.outer(r, r) - product * np.subtract.outer(np.sqrt(c), np.sqrt(c)) ** 2 / np.add.outer(
        weighted, weighted
    )
    values.setflags(write=False)
    return values


class BondValence(Term):
    """Global instability index: sqrt(mean over the atoms of (V - s)²), in valence units.

    V is the atom's bond-valence sum, Σ exp((R_ij - d_ij) / 0.37 Å) over all atoms of the other sign nearer than 6 Å,
    negative for anions; s is its oxidation state. The elements' parameters give an R that is up to 0.1 Å longer than
    those fitted to each pair of ions (Si-O 1.70 against 1.62), so values come out higher than in the literature, where
    0.2 counts as strained: rock salt has 0.16, rutile 0.12, but quartz 0.83. Of the Materials Project's computed
    structures that have a value half come below 0.3, and one in twenty above 1, where a structure is not what its
    charges say.

    Signs and oxidation states come from the composition: of the widest gap in electronegativity that allows a neutral
    choice of states from the table, elements below are cations and those above anions. Of all neutral choices that keep
    to these signs, that with the lowest index counts; the column `bond_valence_states` shows it.

    Args:
        table: the oxidation-state table: a built-in name, a file, or a mapping such as {"Na": [1], "Cl": [-1]}.
        mixed_valence: False gives all atoms of an element one state; True lets each atom choose its own.

    Raises:
        UnknownOxidationTableError, OxidationTableError: as `oreflow.envs.chemistry.oxidation.resolve_table`.
        RewardParameterError: when mixed_valence is no bool.

    Invalid where there is no such choice, and where an element has no state in the table, no Pauling electronegativity,
    or no bond-valence parameters: noble gases, Tc, Pm, Os, Pt, Au, and all beyond Bi but Th and U.
    """

    name = "bond_valence"
    unit = "valence units"
    version = "1"
    citations = (
        "O'Keeffe and Brese, J. Am. Chem. Soc. 113, 3226 (1991), doi:10.1021/ja00009a002",
        "Brese and O'Keeffe, Acta Cryst. B47, 192 (1991), doi:10.1107/S0108768190011041",
        "Salinas-Sanchez et al., J. Solid State Chem. 100, 201 (1992), doi:10.1016/0022-4596(92)90094-C",
    )
    requires: Requires = "structure"

    def __init__(self, table: TableSpec = DEFAULT_TABLE, mixed_valence: bool = False) -> None:
        self.table = resolve_table(table)
        self.mixed_valence = expect_bool("mixed_valence", mixed_valence)
        self._states = oxidation_matrix(self.table)

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Index of every row."""
        from oreflow.rewards.chemistry.oxidation_balance import pauling_ordered
        from oreflow.rewards.terms.structure.neighbours_compiled import fit_states_of_cells

        atoms, chi = as_atoms(batch), electronegativities()
        compositions, cell = compositions_of(atoms).reduced(), cell_numbers(atoms)
        independent = independent_elements(self.mixed_valence)
        limits = pauling_ordered(compositions.atomic_numbers, compositions.counts, *self._states, independent, chi)
        known = ~np.isnan(np.diagonal(bond_lengths()))
        n_unknown = np.bincount(cell, ~known[atoms.atomic_numbers], len(atoms))
        usable = ~np.isnan(limits) & (n_unknown == 0) & (volumes_per_atom(atoms) >= MIN_VOLUME_A3_PER_ATOM)
        cation = chi[atoms.atomic_numbers] <= limits[cell]
        sign = np.where(usable[cell], np.where(cation, 1, -1), 0).astype(np.int8)
        sums = valence_sums(atoms, sign)
        usable &= np.isfinite(np.bincount(cell, sums, len(atoms)))
        states, found = fit_states_of_cells(
            sums, atoms.offsets, atoms.atomic_numbers, sign, usable, *self._states, self.mixed_valence
        )
        squares = np.bincount(cell, (sums - states) ** 2, len(atoms))
        values = np.sqrt(squares / np.maximum(np.diff(atoms.offsets), 1))
        valid = usable & found
        texts = [states_text(atoms, states, row) if valid[row] else "" for row in range(len(atoms))]
        return TermValues(
            np.where(valid, values, np.nan),
            valid,
            {"bond_valence_states": np.array(texts, dtype=object)},
            self._reasons(atoms, compositions, valid, ~known, np.isnan(limits)),
        )

    def _reasons(
        self, atoms: Atoms, compositions: Compositions, valid: Bools, unknown: Bools, not_neutral: Bools
    ) -> dict[int, str]:
        chi = electronegativities()
        no_states = missing_states(compositions, ~valid, self.table)

        def otherwise(row: int) -> str:
            if row in no_states:
                return no_states[row]
            numbers = compositions.atomic_numbers[row].tolist()
            no_chi = [symbols()[z] for z in numbers if z and math.isnan(chi[z])]
            if no_chi:
                return f"no Pauling electronegativity of {', '.join(no_chi)}"
            if not_neutral[row]:
                return f"no neutral choice of oxidation states with cations less electronegative in {self.table}"
            return f"less than {MIN_VOLUME_A3_PER_ATOM} cubic angstrom per atom, or coordinates that are not finite"

        return reasons_for(atoms, valid, unknown, "bond-valence parameters", otherwise)


def valence_sums(atoms: Atoms, sign: Int8s, softness_angstrom: float = SOFTNESS_ANGSTROM) -> Floats:
    """Bond-valence sum of every atom, float64 [atom], negative for anions.

    Args:
        sign: int8 [atom], 1 for cations, -1 for anions, 0 to leave an atom out.
        softness_angstrom: the length over which a bond's valence falls by a factor of e.
    """
    from oreflow.rewards.terms.structure.neighbours_compiled import bond_valence_sums

    return bond_valence_sums(
        atoms.vectors,
        atoms.offsets,
        atoms.atomic_numbers,
        atoms.fractional,
        atoms.orbit,
        sign,
        bond_lengths(),
        softness_angstrom,
        CUTOFF_ANGSTROM,
    )


def states_text(atoms: Atoms, states: States, row: int) -> str:
    """Oxidation states of one cell, such as "1 Fe2+; 2 Fe3+; 4 O2-", divided by the number of formula units."""
    own = slice(atoms.offsets[row], atoms.offsets[row + 1])
    pairs, counts = np.unique(np.stack([atoms.atomic_numbers[own], states[own]], axis=1), axis=0, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    order = np.argsort(-pairs[:, 1] >= 0, kind="stable")  # cations first
    parts = []
    for (z, state), count in zip(pairs[order].tolist(), counts[order].tolist()):
        size = str(abs(state)) if abs(state) > 1 else ""
        parts.append(
            f"{count} {symbols()[z]}{size}{'+' if state > 0 else '-'}" if state else f"{count} {symbols()[z]}0"
        )
    return "; ".join(parts)
