"""Tolerance factors of perovskites: whether the ions of ABX3 have sizes that fit the structure.

Data: `rewards/data/ionic_radii.csv`, see `rewards/data/README.md` for its origin. Loaded once, on first use.
"""

import csv
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np

from oreflow.envs.arrays import AnyInts, Bools, Floats
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.chemistry.oxidation import HIGHEST_STATE, TableSpec, oxidation_states, resolve_table
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError


class IonicRadii(NamedTuple):
    """Shannon's effective ionic radii, angstrom, as the sites of a perovskite need them; NaN where unknown.

    Attributes:
        six: float64 [119, 10] by atomic number and positive state, at the coordination number nearest 6.
        twelve: likewise, at the one nearest 12.
        anion: float64 [119], of the anion, at coordination 6.
        charge: int64 [119], |state| of the anion; 0 where there is none.
    """

    six: Floats
    twelve: Floats
    anion: Floats
    charge: AnyInts


@cache
def ionic_radii() -> IonicRadii:
    """Read the table of ionic radii."""
    six, twelve = np.full((2, N_ELEMENTS + 1, HIGHEST_STATE + 1), np.nan)
    anion, charge = np.full(N_ELEMENTS + 1, np.nan), np.zeros(N_ELEMENTS + 1, dtype=np.int64)
    with files("oreflow.rewards").joinpath("data/ionic_radii.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            z, state = int(row["atomic_number"]), int(row["state"])
            if state > 0:
                six[z, state], twelve[z, state] = float(row["r_6_angstrom"]), float(row["r_12_angstrom"])
            elif row["cn_near_6"] == "6":
                anion[z], charge[z] = float(row["r_6_angstrom"]), -state
    for values in (six, twelve, anion, charge):
        values.setflags(write=False)
    return IonicRadii(six, twelve, anion, charge)


class ToleranceFactor(Term):
    """Tolerance factor of ABX3: Bartel's tau, below 4.18 in perovskites, or Goldschmidt's t, from 0.825 to 1.059.

    t = (r_A + r_X) / (√2 (r_B + r_X)) and tau = r_X / r_B - n_A (n_A - (r_A / r_B) / ln(r_A / r_B)), with Shannon's
    effective ionic radii r and the oxidation state n_A of A. SrTiO3 has t = 1.002 and tau = 3.80. Of 576 known ABX3
    tau tells 92 % right, t 74 % (Bartel et al.); both ranges are theirs.

    As theirs are, radii are those at the coordination number nearest 12 for A (Mg2+ 8, Ti4+ 8) and nearest 6 for B, of
    high spin where there are two; A is the cation that is larger at 6, and of two as large the one larger at 12, then
    the one of the lower state. X is O, F, S, Cl, Se, Br, Te or I at 6. States are those of the table that balance;
    where several pairs do, the pair with the smallest tau counts: the formula is judged by the states that suit it
    best. Bartel et al. choose by electronegativity there.

    Columns: `a_ion` and `b_ion`, as "Sr2+", and `a_radius_angstrom`, `b_radius_angstrom`.

    Invalid is what is no ABX3 of three elements, what no states of the table balance (LaMnO3 by the default table,
    which lists no Mn3+; `pymatgen_icsd` does), and what has an ion without a radius (Sn2+).
    """

    name = "tolerance_factor"
    unit = "dimensionless"
    version = "1"
    citations = (
        "Bartel et al., Sci. Adv. 5, eaav0693 (2019), doi:10.1126/sciadv.aav0693",
        "Goldschmidt, Naturwissenschaften 14, 477 (1926), doi:10.1007/BF01507527",
        "Shannon, Acta Cryst. A32, 751 (1976), doi:10.1107/S0567739476001551",
    )

    def __init__(self, rule: Literal["bartel", "goldschmidt"] = "bartel", table: TableSpec = DEFAULT_TABLE) -> None:
        """Chooses the factor, and the oxidation states that ions may have.

        Args:
            rule: "bartel" gives tau, "goldschmidt" t.
            table: the oxidation-state table, as `oreflow.envs.chemistry.oxidation.resolve_table` takes it.

        Raises:
            RewardParameterError: for another rule.
            UnknownOxidationTableError, OxidationTableError: as `resolve_table`.
        """
        if rule not in ("bartel", "goldschmidt"):
            raise RewardParameterError(f"expected rule to be 'bartel' or 'goldschmidt', got {rule!r}")
        self.rule = rule
        self.table = resolve_table(table)
        radii = ionic_radii()
        self._cations = np.zeros(radii.six.shape, dtype=np.bool_)
        self._anions = np.zeros(N_ELEMENTS + 1, dtype=np.bool_)
        for z, states in oxidation_states(self.table).items():
            self._cations[z, [state for state in states if state > 0]] = True
            self._anions[z] = radii.charge[z] > 0 and -radii.charge[z] in states

    def __call__(self, batch: Compositions) -> TermValues:
        """Tolerance factor of every row."""
        n = len(batch)
        values, radii = np.full(n, np.nan), np.full((2, n), np.nan)
        ions = np.full((2, n), "", dtype=object)
        reasons = dict.fromkeys(range(n), "expected ABX3, with three different elements")
        reduced = batch.reduced()
        rows = np.flatnonzero(reduced.n_elements == 3)
        if len(rows):
            counts = reduced.counts[rows, :3]
            order = np.argsort(counts, axis=1, kind="stable")
            abx3 = (np.take_along_axis(counts, order, axis=1) == (1, 1, 3)).all(axis=1)
            rows, zs = rows[abx3], np.take_along_axis(reduced.atomic_numbers[rows, :3], order, axis=1)[abx3]
            values[rows], radii[:, rows], sites, states, why = self._factors(zs)
            names = symbols()
            for row, elements, charges, reason in zip(rows.tolist(), sites.T.tolist(), states.T.tolist(), why):
                reasons[row] = reason
                if not reason:
                    ions[:, row] = [f"{names[z]}{q if q > 1 else ''}+" for z, q in zip(elements, charges)]
                    del reasons[row]
        columns = {"a_ion": ions[0], "b_ion": ions[1], "a_radius_angstrom": radii[0], "b_radius_angstrom": radii[1]}
        return TermValues(values, np.isfinite(values), columns, reasons)

    def _factors(self, zs: AnyInts) -> tuple[Floats, Floats, AnyInts, AnyInts, list[str]]:
        """Factors of the elements C, C' and X of CC'X3.

        Args:
            zs: atomic numbers [row, 3].

        Returns:
            values: float64 [row], radii: float64 [2, row] of A and B; NaN where there is no factor.
            sites, states: atomic numbers and oxidation states of A and B, [2, row].
            why: reasons of the rows without a factor, "" of the others.
        """
        six, twelve, anion, charge = ionic_radii()
        c, d, x = zs.T[:, :, None]
        first = np.arange(1, HIGHEST_STATE + 1)
        second = np.where(self._anions[x], 3 * charge[x], 0) - first
        balanced = (second > 0) & (second <= HIGHEST_STATE)
        second = np.clip(second, 1, HIGHEST_STATE)
        balanced &= self._cations[c, first] & self._cations[d, second]
        r_x = anion[x]
        a_first = _is_larger((six[c, first], twelve[c, first], -first), (six[d, second], twelve[d, second], -second))
        a, b = np.where(a_first, c, d), np.where(a_first, d, c)
        n_a, n_b = np.where(a_first, first, second), np.where(a_first, second, first)
        r_a, r_b = twelve[a, n_a], six[b, n_b]
        usable = balanced & (r_a > r_b)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = r_a / r_b
            tau = np.where(usable, r_x / r_b - n_a * (n_a - ratio / np.log(ratio)), np.inf)
        best = np.arange(len(zs)), tau.argmin(axis=1)
        found = usable.any(axis=1)
        goldschmidt = (r_a + r_x) / (np.sqrt(2.0) * (r_b + r_x))
        values = np.where(found, (tau if self.rule == "bartel" else goldschmidt)[best], np.nan)
        radii = np.where(found, np.stack([r_a[best], r_b[best]]), np.nan)
        known = (balanced & ~np.isnan(r_a + r_b)).any(axis=1)
        why = ["" if ok else "?" for ok in found.tolist()]
        for row in np.flatnonzero(~found).tolist():
            why[row] = self._reason(zs[row], bool(balanced[row].any()), bool(known[row]))
        return values, radii, np.stack([a[best], b[best]]), np.stack([n_a[best], n_b[best]]), why

    def _reason(self, zs: AnyInts, balanced: bool, known: bool) -> str:
        """Why C, C' and X have no factor."""
        first, second, anion = (symbols()[z] for z in zs.tolist())
        if not self._anions[zs[2]]:
            return f"{anion} is no anion with an ionic radius at coordination 6 and a state in {self.table}"
        if not balanced:
            return f"no oxidation states of {first} and {second} balance three {anion} in {self.table}"
        if not known:
            return f"no ionic radii of {first} and {second} in the oxidation states that balance"
        return f"{first} and {second} are equally large: neither is A"


def _is_larger(first: tuple[AnyInts | Floats, ...], second: tuple[AnyInts | Floats, ...]) -> Bools:
    """Whether the first is the larger by the earliest of the sizes in which the two differ; true where in none."""
    larger = np.ones(np.broadcast_shapes(first[0].shape, second[0].shape), dtype=np.bool_)
    for one, other in reversed(list(zip(first, second))):
        larger = np.where(one == other, larger, one > other)
    return larger
