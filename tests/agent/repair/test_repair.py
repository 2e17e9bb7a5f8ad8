"""Exact repair against trying all formulas; what is read, and what is said where nothing can be done."""

import itertools
import math
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.agent.repair.amounts import read_amounts
from oreflow.agent.repair.net_valence import net_valence
from oreflow.agent.repair.repair import Settings, repair_formulas
from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.chemistry.oxidation import oxidation_states
from oreflow.envs.errors import FormulaError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance
from tests.support.oracle import is_neutral

OWN, EXTRA, MOST = ("Cl", "Fe", "O"), "Ti", 7  # in the order of the alphabet, which decides between equals
TABLES = st.fixed_dictionaries(
    {symbol: st.lists(st.integers(-3, 3), min_size=1, max_size=3, unique=True) for symbol in (*OWN, EXTRA)}
)


def neutral_vectors(table: dict, names: tuple[str, ...], mixed: bool) -> list[tuple[int, ...]]:
    """Counts of all neutral formulas of these elements with at most MOST atoms."""
    found = []
    for counts in itertools.product(range(MOST + 1), repeat=len(names)):
        formula = tuple((name, count) for name, count in zip(names, counts) if count)
        if 1 <= sum(counts) <= MOST and is_neutral(formula, table, mixed):
            found.append(counts)
    return found


def changed(n: tuple[int, ...], m: tuple[int, ...]) -> int:
    """Take out, bring in, or put one in the place of another: counted move by move."""
    gone = [i for i, (a, b) in enumerate(zip(n, m)) for _ in range(a - b)]
    come = [i for i, (a, b) in enumerate(zip(n, m)) for _ in range(b - a)]
    return sum(1 for _ in itertools.zip_longest(gone, come))


def squared(n: tuple[int, ...], m: tuple[int, ...]) -> Fraction:
    return sum(((Fraction(b, sum(m)) - Fraction(a, sum(n))) ** 2 for a, b in zip(n, m)), Fraction(0))


def text_of(names: tuple[str, ...], counts: tuple[int, ...]) -> str:
    return "".join(f"{name}{count}" for name, count in zip(names, counts) if count)


def reduced(names: tuple[str, ...], counts: tuple[int, ...]) -> dict[str, int]:
    divisor = math.gcd(*counts)
    return {name: count // divisor for name, count in zip(names, counts) if count}


def read(text: str) -> dict[str, int]:
    counts = {symbols()[z]: n for z, n in parse_formula(text).items()}
    return {name: n // math.gcd(*counts.values()) for name, n in counts.items()}


@given(
    TABLES,
    st.tuples(*[st.integers(1, 3)] * 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["changes", "fractions"]),
)
def test_no_formula_is_nearer(
    table: dict, own: tuple[int, ...], mixed: bool, add: bool, keep: bool, nearest: str
) -> None:
    names = (*OWN, EXTRA) if add else OWN
    n = (*own, 0) if add else own
    settings = Settings(nearest, [EXTRA] if add else [], keep, max_atoms=MOST, table=table, mixed_valence=mixed)
    row = repair_formulas([text_of(names, n)], settings).iloc[0]
    candidates = [m for m in neutral_vectors(table, names, mixed) if not keep or all(m[:3])]
    if not candidates:
        assert row["status"] == "no_neutral_formula"
        assert row["repaired"] == ""
        return

    def order(m: tuple[int, ...]) -> tuple:
        new = int(m[3] > 0) if add else 0
        backwards = tuple(-count for count in m)  # more of the first in the alphabet comes first
        if nearest == "fractions":
            return squared(n, m), sum(m), backwards
        return changed(n, m), new, squared(n, m), sum(m), backwards

    best = min(candidates, key=order)
    assert read(row["repaired"]) == reduced(names, best)
    assert row["changed_atoms"] == changed(n, best)
    assert row["distance"] == pytest.approx(math.sqrt(squared(n, best)), abs=1e-12)
    assert row["net_valence_after"] == 0
    same = changed(n, best) == 0 if nearest == "changes" else squared(n, best) == 0
    assert row["status"] == ("neutral" if same else "repaired")
    assert (row["net_valence_before"] == 0) == is_neutral(tuple(zip(names, own)), table, mixed)


@given(TABLES, st.tuples(*[st.integers(1, 60)] * 2), st.booleans())
def test_no_formula_is_nearer_to_decimal_fractions(table: dict, hundredths: tuple[int, int], mixed: bool) -> None:
    first, second = hundredths
    weights = (first, second, 100 - first - second)
    if weights[2] < 1:
        return
    text = "".join(f"{name}{weight / 100:.2f}" for name, weight in zip(OWN, weights))
    settings = Settings("fractions", max_atoms=MOST, table=table, mixed_valence=mixed)
    row = repair_formulas([text], settings).iloc[0]
    candidates = neutral_vectors(table, OWN, mixed)
    if not candidates:
        assert row["status"] == "no_neutral_formula"
        return
    best = min(candidates, key=lambda m: (squared(weights, m), sum(m), tuple(-count for count in m)))
    assert read(row["repaired"]) == reduced(OWN, best)
    assert pd.isna(row["changed_atoms"])
    assert row["distance"] == pytest.approx(math.sqrt(squared(weights, best)), abs=1e-12)


@given(TABLES, st.tuples(*[st.integers(1, 5)] * 3), st.booleans())
def test_net_valence_is_the_residual_charge_by_atoms(table: dict, counts: tuple[int, ...], mixed: bool) -> None:
    weights = {atomic_number(name): count for name, count in zip(OWN, counts)}
    batch = Compositions.from_dicts([weights])
    residual = ChargeBalance(table, mixed)(batch.reduced()).values[0] / batch.reduced().n_atoms[0]
    assert net_valence(weights, oxidation_states(table), mixed) == pytest.approx(residual, abs=1e-12)


@given(st.tuples(*[st.integers(1, 4)] * 3), st.booleans())
def test_ordered_repair_is_the_nearest_that_electronegativity_balance_accepts(own: tuple[int, ...], add: bool) -> None:
    """By the shipped table, whose chlorine may be a cation and whose nitrogen is rarely one in the end."""
    names = ("Cl", "Fe", "N", "O") if add else ("Cl", "Fe", "N")
    n = (*own, 0) if add else own
    settings = Settings(add=["O"] if add else [], max_atoms=MOST, ordered=True, table="pymatgen_icsd")
    row = repair_formulas([text_of(names, n)], settings).iloc[0]
    vectors = [m for m in itertools.product(range(MOST + 1), repeat=len(names)) if 1 <= sum(m) <= MOST]
    batch = Compositions.from_dicts(
        [{atomic_number(name): count for name, count in zip(names, m) if count} for m in vectors]
    )
    values = ElectronegativityBalance("pymatgen_icsd")(batch).values
    candidates = [m for m, value in zip(vectors, values) if value == 1]

    def order(m: tuple[int, ...]) -> tuple:
        new = int(m[3] > 0) if add else 0
        return changed(n, m), new, squared(n, m), sum(m), tuple(-count for count in m)

    best = min(candidates, key=order)
    assert read(row["repaired"]) == reduced(names, best)
    assert row["changed_atoms"] == changed(n, best)


def test_textbook_formulas() -> None:
    frame = repair_formulas(["NaCl", "NaCl2", "Li6PS5Cl2", "Na0.48Cl0.52", "Li0.5CoO2"]).set_index("formula")
    assert frame["repaired"].tolist() == ["NaCl", "NaCl", "Li7PS5Cl2", "NaCl", "LiCoO2"]
    assert frame["status"].tolist() == ["neutral", *["repaired"] * 4]
    assert frame.loc["NaCl2", "changes"] == "Cl2 -> Cl1"
    assert frame.loc["NaCl2", "net_valence_before"] == pytest.approx(1 / 3)
    assert frame.loc["NaCl2", "oxidation_states"] == "1 Na+; 1 Cl-"
    assert frame.loc["Na0.48Cl0.52", "distance"] == pytest.approx(math.hypot(0.02, 0.02))
    assert frame.loc["Li0.5CoO2", "changes"] == "Li1 -> Li2"
    assert repair_formulas(["Fe3O4"], Settings(mixed_valence=True))["status"].tolist() == ["neutral"]


def test_a_formula_far_from_neutral_is_said_to_be_far() -> None:
    row = repair_formulas(["Na90N"], Settings(max_changes=3)).iloc[0]
    assert (row["status"], row["repaired"]) == ("too_far", "")
    assert "3 changed atoms" in row["note"]
    found = repair_formulas(["Na90N"]).iloc[0]
    # 91 atoms with 23 nitrogen have a net charge of -1: one of them has to go
    assert (found["repaired"], found["changed_atoms"]) == ("Na3N", 22)


def test_rows_that_cannot_be_repaired_keep_their_place_and_say_why() -> None:
    frame = repair_formulas(["FeCu", "Xx2", "NaCl2", "HeNaCl", "Na0.5Cl0.3", "", "NaCl2"])
    assert frame["status"].tolist() == [
        "no_neutral_formula",
        "unreadable",
        "repaired",
        "no_oxidation_state",
        "unreadable",
        "unreadable",
        "repaired",
    ]
    assert frame["formula"].tolist() == ["FeCu", "Xx2", "NaCl2", "HeNaCl", "Na0.5Cl0.3", "", "NaCl2"]
    notes = frame["note"].tolist()
    assert "no formula of Fe, Cu is neutral by pymatgen_common" in notes[0]
    assert "no oxidation state of He" in notes[3]
    assert "sum to 1, got 0.8" in notes[4]
    assert repair_formulas(["FeCu"], Settings(add=["halogens"]))["status"].tolist() == ["repaired"]


def test_fractions_may_be_rounded_but_not_wrong() -> None:
    assert read_amounts("Na0.33Cl0.33O0.33").weights == {11: 33000, 17: 33000, 8: 33000}
    assert not read_amounts("Na0.33Cl0.33O0.33").counted
    for text in ("Na0.5Cl0.4", "Na0.500Cl0.498", "Na0.0Cl0.9", "Na0.5Qq0.5", "Na.Cl0.5", "Na2000Cl"):
        with pytest.raises(FormulaError):
            read_amounts(text)
    assert read_amounts("Li1.2Mn0.6O2").weights == {3: 6, 25: 3, 8: 10}
    assert read_amounts("Ca(OH)2").weights == {20: 1, 8: 2, 1: 2}
    assert read_amounts("NaN").weights == {11: 1, 7: 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"nearest": "formula"},
        {"method": "gibbs"},
        {"max_atoms": 0},
        {"max_atoms": 101, "nearest": "fractions"},
        {"max_changes": 0},
        {"steps": 0},
        {"add": ["halogen"]},
        {"method": "metropolis_hastings", "add": ["O"]},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"expected|leave"):
        Settings(**wrong)


def test_metropolis_hastings_reaches_neutrality_farther_away_and_repeats_exactly() -> None:
    texts = ["NaCl2", "Li6PS5Cl2", "Ca3P3O12", "Na0.48Cl0.52", "NaCl", "FeCu"]
    settings = Settings(method="metropolis_hastings", steps=300, seed=1)
    frame = repair_formulas(texts, settings)
    assert frame["status"].tolist() == ["repaired"] * 4 + ["neutral", "charged"]
    exact = repair_formulas(texts[:4], Settings("fractions", max_atoms=100))
    assert (frame["distance"][:4] >= exact["distance"] - 1e-12).all()
    assert frame["distance"][:4].sum() > exact["distance"].sum()
    assert (frame["net_valence_after"][:5] == 0).all()
    assert frame["net_valence_after"][5] == pytest.approx(2.0)  # two cations stay two cations
    assert repair_formulas(texts[::-1], settings)[::-1].reset_index(drop=True).equals(frame)
    assert not repair_formulas(texts, Settings(method="metropolis_hastings", steps=300, seed=2)).equals(frame)
