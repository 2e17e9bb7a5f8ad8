"""Charge and electronegativity balance: by hand, and against enumeration in plain Python."""

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.envs.chemistry.built_in_oxidation import TABLES
from oreflow.envs.chemistry.elements import atomic_number, electronegativities
from oreflow.envs.chemistry.oxidation import oxidation_matrix, oxidation_states
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.chemistry.oxidation_balance import pauling_ordered, reachable_charges, residual_charge
from oreflow.rewards.chemistry.oxidation_rules import independent_elements
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance, witnesses
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance

COMMON, NONE = "pymatgen_common", math.nan


def batch_of(*formulas: str) -> Compositions:
    return Compositions.from_dicts([parse_formula(formula) for formula in formulas])


def slow_choices(formula: dict[int, int], table: str) -> list[list[tuple[int, ...]]]:
    """For every element the ways to give its atoms one state."""
    states = oxidation_states(table)
    return [[(state,) * count for state in states.get(z, ())] for z, count in sorted(formula.items())]


def charges_of_units(parts: list[tuple[int, tuple[int, ...]]], units: int) -> set[int]:
    """Every charge of so many formula units together, atom by atom, as bits; `parts` are counts and states."""
    bits, offset = 1, 0
    for count, states in parts:
        if not states:
            return set()
        lowest = min(states)
        for _ in range(units * count):
            following = 0
            for state in states:
                following |= bits << (state - lowest)
            bits, offset = following, offset + lowest
    return {place + offset for place in range(bits.bit_length()) if bits >> place & 1}


def slow_mixed_residual(parts: list[tuple[int, tuple[int, ...]]]) -> float:
    """Smallest |charge| a formula unit of one to twelve units together, whose atoms choose their states one by one."""
    found = [abs(total) / units for units in range(1, 13) for total in charges_of_units(parts, units)]
    return min(found, default=math.nan)


def slow_residual(formula: dict[int, int], table: str, mixed: bool) -> float:
    if mixed:
        return slow_mixed_residual([(n, oxidation_states(table).get(z, ())) for z, n in formula.items()])
    picks = itertools.product(*slow_choices(formula, table))
    return min((abs(sum(map(sum, pick))) for pick in picks), default=math.nan)


def slow_verdict(formula: dict[int, int], table: str, mixed: bool) -> bool:
    """Some neutral pick in which every positive atom is less electronegative than every negative one."""
    chi = electronegativities()
    if mixed:
        return slow_mixed_verdict(formula, table)
    for pick in itertools.product(*slow_choices(formula, table)):
        atoms = [(chi[z], state) for z, states in zip(sorted(formula), pick) for state in states]
        if sum(state for _, state in atoms) == 0 and all(
            a < b
            for a, s in atoms
            for b, t in atoms
            if s > 0 and t < 0  # the rule, pair by pair
        ):
            return True
    return False


def slow_mixed_verdict(formula: dict[int, int], table: str) -> bool:
    """The same with states atom by atom in up to twelve units: by which elements are cations, anions, or all zero."""
    chi, states = electronegativities(), oxidation_states(table)
    for signs in itertools.product((1, -1, 0), repeat=len(formula)):
        sides = dict(zip(formula, signs))
        if any(chi[a] >= chi[b] for a in sides for b in sides if sides[a] > 0 and sides[b] < 0):
            continue
        parts = []
        for z, n in formula.items():
            own = [s for s in states.get(z, ()) if (s * sides[z] >= 0 if sides[z] else s == 0)]
            parts.append((n, tuple(own)))
        if slow_mixed_residual(parts) == 0:
            return True
    return False


@pytest.mark.kind("mixed valence")
@pytest.mark.parametrize(
    ("formula", "mixed", "residual", "verdict"),
    [
        ("NaCl", False, 0, 1),
        ("Na2Cl2", False, 0, 1),
        ("Fe3O4", False, 1, 0),  # three Fe3+ and four O2-: +9 - 8
        ("Fe3O4", True, 0, 1),  # one Fe2+, two Fe3+
        ("Sb2O4", False, 1, 0),
        ("Sb2O4", True, 0, 1),  # SbO2: Sb3+ and Sb5+ in two formula units
        ("TlBr2", True, 0, 1),
        ("Cs2SbCl6", True, 0, 1),
        ("Na2Cl", True, 1, 0),  # two Na+ and Cl- at the lowest: no mixture helps
        ("NaN", False, 2, 0),  # Na+ and N3-
        ("Na3N", False, 0, 1),
        ("CsPbI3", False, 0, 1),
        ("H2O", False, 0, 1),
        ("LiFePO4", False, 0, 1),
        ("CuZn", False, 4, 0),  # an intermetallic: Cu2+ and Zn2+, no anion
        ("Fe", False, 2, 0),  # a pure element: the table has no state 0 for iron
        ("O2", False, 2, 0),  # reduced to O
        ("LiH", False, 0, 1),
        ("Og", False, NONE, NONE),
        ("XeF2", False, 0, 1),
        ("ArF2", True, NONE, NONE),
        ("HeO", False, NONE, NONE),
    ],
)
def test_textbook_cases(formula: str, mixed: bool, residual: float, verdict: float) -> None:
    charge = ChargeBalance(COMMON, mixed)(batch_of(formula))
    ordered = ElectronegativityBalance(COMMON, mixed)(batch_of(formula))
    if math.isnan(residual):
        assert not charge.valid[0]
        assert not ordered.valid[0]
        assert re.search("no oxidation state of (Og|Ar|He) in pymatgen_common", charge.reasons[0])
        return
    assert (charge.values[0], charge.valid[0], charge.reasons) == (residual, True, {})
    assert (ordered.values[0], ordered.valid[0]) == (verdict, True)


def test_other_tables_change_the_verdict() -> None:
    """Nitrogen has the state -1 in pymatgen's full table, which makes NaN neutral; xenon has no state there."""
    result = ChargeBalance("pymatgen_all")(batch_of("NaN", "XeF2"))
    assert (result.values[0], result.valid.tolist()) == (0, [True, False])
    assert witnesses(batch_of("NaN"), "pymatgen_all") == ["1 Na+; 1 N-"]


def test_neutral_but_not_ordered() -> None:
    """Au3+ Sb3- is the only neutral choice, and gold is the more electronegative of the two."""
    batch = batch_of("SbAu", "OF2", "ClF")
    assert ChargeBalance("pymatgen_all")(batch).values.tolist() == [0, 0, 0]
    assert ElectronegativityBalance("pymatgen_all")(batch).values.tolist() == [0, 1, 1]
    assert witnesses(batch, "pymatgen_all")[0] == "1 Sb3-; 1 Au3+"


def test_missing_electronegativity_is_invalid_for_the_verdict_only() -> None:
    charge, ordered = ChargeBalance(COMMON)(batch_of("RfCl4")), ElectronegativityBalance(COMMON)(batch_of("RfCl4"))
    assert (charge.valid[0], charge.values[0]) == (True, 0)
    assert not ordered.valid[0]
    assert ordered.reasons == {0: "no Pauling electronegativity of Rf"}


POOL = sorted(parse_formula("HLiCNOFNaPSClMnFeCuSbXeAuPbHe"))


@st.composite
def formulas(draw: st.DrawFn) -> dict[int, int]:
    chosen = draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=4, unique=True))
    return {z: draw(st.integers(1, 4)) for z in chosen}


@given(formulas(), st.sampled_from(sorted(TABLES)), st.booleans())
def test_equals_enumeration_in_plain_python(formula: dict[int, int], table: str, mixed: bool) -> None:
    batch = Compositions.from_dicts([formula])
    charge, ordered = ChargeBalance(table, mixed)(batch), ElectronegativityBalance(table, mixed)(batch)
    divisor = math.gcd(*formula.values())
    reduced = {z: n // divisor for z, n in formula.items()}
    expected = slow_residual(reduced, table, mixed)
    assert charge.valid[0] == (not math.isnan(expected))
    if charge.valid[0]:
        assert charge.values[0] == expected
    if ordered.valid[0]:
        assert ordered.values[0] == slow_verdict(reduced, table, mixed)


WITNESS = re.compile(r"(\d+) ([A-Z][a-z]?)(\d*)([+-]?)")


def made_up(table: dict[int, tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """States of made-up elements as arrays, [119, 5] and [119]."""
    states, n_states = np.zeros((119, 5), dtype=np.int64), np.zeros(119, dtype=np.int64)
    for z, own in table.items():
        states[z, : len(own)], n_states[z] = sorted(own), len(own)
    return states, n_states


def limit_of(table: dict[int, tuple[int, ...]], formula: dict[int, int], chi: dict[int, float], mixed: bool) -> float:
    scale = np.full(119, np.nan)
    scale[list(chi)] = list(chi.values())
    batch = Compositions.from_dicts([formula])
    return pauling_ordered(
        batch.atomic_numbers, batch.counts, *made_up(table), independent_elements(mixed), scale, mixed
    )[0]


@pytest.mark.parametrize(
    ("chi", "limit"),
    [
        ((1.0, 2.0, 4.0), 2.0),  # the wider gap, although the other comes first
        ((1.0, 3.0, 4.0), 1.0),
        ((1.0, 2.0, 3.0), 1.0),  # of equally wide gaps the lower one
        ((1.0, 1.0, 3.0), 1.0),  # equal values stand on one side
        ((1.0, 3.0, 3.0), 1.0),
        ((2.0, 2.0, 2.0), NONE),
    ],
)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_limit_lies_in_the_widest_gap_whatever_the_order_of_elements(
    chi: tuple[float, ...], limit: float, order: tuple[int, ...]
) -> None:
    """A+2 B-1 C-1 and A+2 B+1 C-3 are both neutral, so both gaps would do."""
    zs = [10 + place for place in order]
    table = dict(zip(zs, [(2,), (-1, 1), (-3, -1)]))
    found = limit_of(table, dict.fromkeys(zs, 1), dict(zip(zs, chi)), False)
    assert found == limit or (math.isnan(found) and math.isnan(limit))


def slow_limit(table: dict[int, tuple[int, ...]], formula: dict[int, int], chi: dict[int, float], mixed: bool) -> float:
    """By trying every pick of states, the widest gap between two neighbouring values first; NaN where nothing works."""
    values = sorted({chi[z] for z in formula})
    gaps = sorted(((a - b, b) for b, a in itertools.pairwise(values)), key=lambda pair: (pair[0], -pair[1]))
    for limit in [b for _, b in reversed(gaps)] or values:
        choices = []
        for z, count in formula.items():
            own = [s for s in table[z] if (s >= 0 if chi[z] <= limit else s <= 0)]
            choices.append((count, tuple(own)) if mixed else (1, tuple(s * count for s in own)))
        charges = slow_mixed_residual(choices) if mixed else min(map(abs, charges_of_units(choices, 1)), default=1)
        if charges == 0:
            return limit
    return math.nan


made_up_states = st.lists(st.integers(-4, 5), min_size=1, max_size=4, unique=True).map(tuple)
made_up_elements = st.tuples(made_up_states, st.integers(1, 4).map(float), st.integers(1, 3))


@given(st.lists(made_up_elements, min_size=1, max_size=4), st.booleans())
def test_the_limit_equals_enumeration_for_made_up_elements(
    elements: list[tuple[tuple[int, ...], float, int]], mixed: bool
) -> None:
    table, chi, formula = ({z: e[i] for z, e in enumerate(elements, 3)} for i in range(3))
    found, expected = limit_of(table, formula, chi, mixed), slow_limit(table, formula, chi, mixed)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


@given(st.lists(st.lists(made_up_elements, min_size=1, max_size=4), min_size=1, max_size=6), st.booleans())
def test_rows_of_a_batch_do_not_touch_each_other(rows: list, mixed: bool) -> None:
    """Rows share working memory; each must come out as it does alone."""
    table = {z: (-3, -1, 0, 2, 5)[z % 3 :] for z in range(1, 40)}
    scale = np.full(119, np.nan)
    scale[1:40] = np.arange(1, 40) * 7 % 11
    dicts = [{sum(states) % 13 + 13 * i + 1: 40 * n for i, (states, _, n) in enumerate(row[:3])} for row in rows]
    arguments = (*made_up(table), independent_elements(mixed))
    together, alone = Compositions.from_dicts(dicts), [Compositions.from_dicts([d]) for d in dicts]
    for function, further in ((residual_charge, ()), (pauling_ordered, (scale,))):
        expected = [function(one.atomic_numbers, one.counts, *arguments, *further)[0] for one in alone]
        found = function(together.atomic_numbers, together.counts, *arguments, *further)
        np.testing.assert_array_equal(found, expected)


@given(st.lists(formulas(), min_size=1, max_size=5), st.sampled_from(sorted(TABLES)), st.booleans())
def test_witnesses_sum_to_zero_and_use_states_of_the_table(
    batch: list[dict[int, int]], table: str, mixed: bool
) -> None:
    compositions = Compositions.from_dicts(batch)
    charge, ordered = ChargeBalance(table, mixed)(compositions), ElectronegativityBalance(table, mixed)(compositions)
    reduced = compositions.reduced()
    chi = electronegativities()
    for row, text in enumerate(witnesses(compositions, table, mixed)):
        if not (charge.valid[row] and charge.values[row] == 0):
            assert text == ""
            continue
        total, atoms, cations, anions = 0, {}, [], []
        for n, symbol, size, sign in WITNESS.findall(text):
            z, state = atomic_number(symbol), int(size or 1) * {"+": 1, "-": -1, "": 0}[sign]
            assert state in oxidation_states(table)[z], text
            total += int(n) * state
            atoms[z] = atoms.get(z, 0) + int(n)
            if state:
                (cations if state > 0 else anions).append(chi[z])
        assert total == 0, text
        own = {z: n for z, n in zip(reduced.atomic_numbers[row].tolist(), reduced.counts[row].tolist()) if z}
        units = sum(atoms.values()) // sum(own.values())
        assert mixed or units == 1
        assert atoms == {z: n * units for z, n in own.items()}
        if ordered.valid[row] and ordered.values[row] == 1 and cations:
            assert max(cations) < min(anions), text


def test_witnesses_by_hand() -> None:
    assert witnesses(batch_of("NaCl", "Fe3O4", "H2O", "Og")) == ["1 Na+; 1 Cl-", "", "2 H+; 1 O2-", ""]
    assert witnesses(batch_of("Fe3O4", "Sb2O4", "TlBr2", "LiFePO4"), mixed_valence=True) == [
        "1 Fe2+; 2 Fe3+; 4 O2-",
        "1 Sb3+; 1 Sb5+; 4 O2-",
        "1 Tl+; 1 Tl3+; 4 Br-",
        "1 Li+; 1 Fe2+; 1 P5+; 4 O2-",
    ]


@pytest.mark.parametrize("mixed", [False, True])
def test_compiled_functions_equal_their_python_twins(mixed: bool) -> None:
    batch = batch_of("NaCl", "Fe3O4", "LaNi5", "XeF2", "OgO", "Cu3Mn5W6", "Li7P3S11", "AuSb", "Fe").reduced()
    table, chi, independent = oxidation_matrix("smact14"), electronegativities(), independent_elements(mixed)
    arguments = (batch.atomic_numbers, batch.counts, *table, independent)
    np.testing.assert_array_equal(residual_charge(*arguments), residual_charge.py_func(*arguments))
    np.testing.assert_array_equal(pauling_ordered(*arguments, chi), pauling_ordered.py_func(*arguments, chi))
    for row, n_cations in itertools.product(range(4), (-1, 0, 1, 2)):
        zs, counts = batch.atomic_numbers[row].astype(np.int64), batch.counts[row].astype(np.int64)
        n = int((zs > 0).sum())
        banks, banks_slow = np.zeros((2, 8), dtype=np.uint64), np.zeros((2, 8), dtype=np.uint64)
        fast = reachable_charges(zs, counts, n, n_cations, *table, independent, banks)
        slow = reachable_charges.py_func(zs, counts, n, n_cations, *table, independent, banks_slow)
        assert fast == slow
        if fast[0] >= 0:
            np.testing.assert_array_equal(banks[fast[0]], banks_slow[slow[0]])


@given(formulas(), st.sampled_from(sorted(TABLES)), st.booleans(), st.integers(-1, 4))
def test_reachable_charges_are_the_sums_of_all_choices(
    formula: dict[int, int], table: str, mixed: bool, n_cations: int
) -> None:
    """The first elements as cations, the others as anions (-1: either): every sum, and no other bit."""
    zs, counts = np.array(list(formula), dtype=np.int64), np.array(list(formula.values()), dtype=np.int64)
    expected = {0}
    for i, z in enumerate(zs.tolist()):
        own = [s for s in oxidation_states(table).get(z, ()) if n_cations < 0 or (s >= 0 if i < n_cations else s <= 0)]
        for _ in range(counts[i] if mixed else 1):
            expected = {total + state * (1 if mixed else int(counts[i])) for total in expected for state in own}
    banks = np.full((2, 8), 2**64 - 1, dtype=np.uint64)  # left over from another row
    bank, low, high = reachable_charges(
        zs, counts, len(zs), n_cations, *oxidation_matrix(table), independent_elements(mixed), banks
    )
    if not expected:
        assert bank == -1
        return
    n_words = ((high - low) >> 6) + 1
    bits = sum(int(word) << (64 * i) for i, word in enumerate(banks[bank, :n_words]))
    assert {bit + low for bit in range(64 * n_words) if bits >> bit & 1} == expected
    assert low <= min(expected) <= max(expected) <= high


def test_large_counts_stay_exact_and_fast() -> None:
    batch = Compositions.from_dicts([{26: 9999, 8: 10_000}, {11: 10_000, 17: 9_999}])
    assert ChargeBalance(COMMON)(batch).values.tolist() == [2, 1]  # Fe2+: 19998 - 20000
    assert ChargeBalance(COMMON, mixed_valence=True)(batch).values.tolist() == [0, 1]


@pytest.mark.parametrize("term", [ChargeBalance, ElectronegativityBalance])
def test_mixed_valence_must_be_a_bool(term: type) -> None:
    """The config reads `no` as text, which would count as true."""
    with pytest.raises(ValueError, match="expected mixed_valence to be true or false, got 'no'"):
        term(mixed_valence="no")
