"""Ion exchange and decoration of prototypes: what they can draw and how often, counted by hand and by brute force."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability
from pymatgen.analysis.structure_prediction.substitutor import Substitutor
from pymatgen.core import Composition, Species
from scipy.stats import chisquare

from oreflow.agent.errors import TrainingError
from oreflow.agent.search.ion_exchange import THRESHOLD, IonExchange, exchangeable, substitutions
from oreflow.agent.search.known_objects import OTHER_SIZE, KnownObjectSearcher, Sources, with_elements
from oreflow.agent.search.prototype_decoration import PrototypeDecoration, prototypes
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.chemistry.oxidation import oxidation_states, resolve_table
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.formulas import parse_formula

TABLE = resolve_table("pymatgen_common")
WIDE = CompositionSpace(n_elements=(2, 4), n_atoms=(2, 20), count=(1, 12))


def formulas(*texts: str) -> Compositions:
    return Compositions.from_dicts([parse_formula(text) for text in texts])


def space_of(*elements: str, **rules: Any) -> CompositionSpace:
    return CompositionSpace(**({"elements": elements, "n_elements": (2, 4), "n_atoms": (2, 12)} | rules))


def exchange(space: CompositionSpace, *known: str) -> IonExchange:
    found = exchangeable(formulas(*known), space, resolve_table(space.oxidation_table))
    return IonExchange(CompositionKernel(space), lambda: found)


def decoration(space: CompositionSpace, *known: str) -> PrototypeDecoration:
    found = prototypes(formulas(*known), space)
    return PrototypeDecoration(CompositionKernel(space), lambda: found, space)


def drawn(searcher: KnownObjectSearcher, n: int, rng: np.random.Generator) -> Counter[str]:
    """How often each formula comes, by its reduced name."""
    texts = searcher.kernel.objects(searcher.propose(n, rng)).formula_units().formulas()
    return Counter(Composition(text).reduced_formula for text in texts)


def fits(counts: Counter[str], weights: dict[str, float]) -> float:
    """p-value of the counts under shares in proportion to the weights; both must name the same formulas."""
    assert set(counts) == set(weights)
    if len(weights) == 1:
        return 1.0
    names = sorted(weights)
    expected = np.array([weights[name] for name in names])
    p: float = chisquare([counts[name] for name in names], expected / expected.sum() * counts.total()).pvalue
    return p


def test_exchange_of_sodium_in_salt_follows_the_table(rng: np.random.Generator) -> None:
    """With chlorine alone as an anion, what comes is ACl, as often as A replaces Na+ in the table."""
    alkali = ("Li", "K", "Rb", "Cs", "Ag", "Tl")
    searcher = exchange(space_of(*alkali, "Cl", "Mg"), "NaCl")
    table = SubstitutionProbability()
    weights = {f"{symbol}Cl": table.cond_prob(f"{symbol}+", "Na+") for symbol in alkali}
    stays = table.cond_prob("Cl-", "Cl-")
    assert all(weight * stays > THRESHOLD for weight in weights.values())
    assert fits(drawn(searcher, 20_000, rng), weights) > 1e-3


def test_what_is_unchanged_and_what_falls_to_one_element_is_drawn_anew(rng: np.random.Generator) -> None:
    counts = drawn(exchange(space_of("Li", "Na", "K", "Cl"), "LiNaCl2"), 4000, rng)
    table = SubstitutionProbability()
    weights: dict[str, float] = {}
    for new in itertools.permutations(("Li", "Na", "K"), 2):
        name = Composition(f"{new[0]}{new[1]}Cl2").reduced_formula
        product = table.cond_prob_list([f"{new[0]}+", f"{new[1]}+", "Cl-"], ["Li+", "Na+", "Cl-"])
        if new != ("Li", "Na") and product > THRESHOLD:
            weights[name] = weights.get(name, 0.0) + product
    assert len(weights) == 3  # sodium and lithium may change places
    assert fits(counts, weights) > 1e-3


@pytest.mark.parametrize("formula", ["SrTiO3", "Na2S", "LiFePO4", "CuFeO2"])
def test_every_exchange_is_one_of_pymatgen_s(formula: str, rng: np.random.Generator) -> None:
    """The branch and bound of pymatgen's Substitutor lists the same formulas above the threshold, and their shares."""
    searcher = exchange(WIDE, formula)
    charges = dict(zip(searcher.sources.objects.atomic_numbers[0].tolist(), searcher.sources.charges[0].tolist()))
    ions = {Species(symbols()[z], q): n for z, n in parse_formula(formula).items() for q in [charges[z]]}
    weights: dict[str, float] = {}
    for found in Substitutor(threshold=THRESHOLD).pred_from_list(list(ions)):
        pairs = found["substitutions"].items()
        same_charge = all(old.oxi_state == new.oxi_state for old, new in pairs)
        if same_charge and len({new.symbol for _, new in pairs}) == len(ions) and any(a != b for a, b in pairs):
            made = Composition({new.symbol: ions[old] for old, new in pairs})
            text = "".join(f"{symbol}{int(n)}" for symbol, n in made.get_el_amt_dict().items())
            if searcher.kernel.find(formulas(text))[1][0]:  # type: ignore[attr-defined]
                weights[made.reduced_formula] = weights.get(made.reduced_formula, 0.0) + found["probability"]
    assert fits(drawn(searcher, 400 * len(weights), rng), weights) > 1e-3


def test_compounds_come_in_proportion_to_what_can_be_made_of_them(rng: np.random.Generator) -> None:
    counts = drawn(exchange(space_of("K", "Ca", "Cl", "O"), "NaCl", "MgO", "MgO", "Mg2O2"), 20_000, rng)
    table = SubstitutionProbability()
    weights = {
        "KCl": table.cond_prob("K+", "Na+") * table.cond_prob("Cl-", "Cl-"),
        "CaO": table.cond_prob("Ca2+", "Mg2+") * table.cond_prob("O2-", "O2-"),  # MgO counts once
    }
    assert fits(counts, weights) > 1e-3


def test_charges_are_those_that_pymatgen_guesses_first() -> None:
    names = ["FeTiO3", "CuFeO2", "SnO2", "KMnO4", "Na2S2O3", "LiFePO4", "BaSnO3", "PbS", "MnCr2O4", "V2O5", "TlCl"]
    known = formulas(*names)
    table = resolve_table("pymatgen_icsd")
    found = exchangeable(known, CompositionSpace(oxidation_table=table, n_elements=(2, 4)), table)
    assert len(found.objects) == len(names)
    ions = substitutions().by_charge()
    states = {
        symbols()[z]: [q for q in charges if (z, q) in ions] for z, charges in oxidation_states(table).items() if z < 95
    }
    for text, row, charges in zip(names, found.objects.atomic_numbers.tolist(), found.charges.tolist(), strict=True):
        guesses = Composition(text).oxi_state_guesses(oxi_states_override=states)
        whole = next(guess for guess in guesses if all(q == int(q) for q in guess.values()))
        assert {symbols()[z]: q for z, q in zip(row, charges) if z} == whole, text


def test_compounds_without_use_are_counted_by_reason() -> None:
    known = formulas("NaCl", "LaNi5", "Fe3O4", "ArF2", "Na", "KBr", "Ca5P3O13H", "KH")
    found = exchangeable(known, space_of("Li", "K", "Cl", "Br"), TABLE)
    assert found.objects.formulas() == ["ClNa", "BrK"]
    assert found.left_out == {
        OTHER_SIZE: 2,  # Na, and 22 atoms
        "of ions that the table of substitutions does not know": 1,  # H-
        "without neutral oxidation states in pymatgen_common, one for each element": 3,
    }
    none = exchangeable(formulas("NaCl"), space_of("Fe", "Ni"), TABLE)
    assert not len(none.objects)
    assert none.left_out == {"of which no likely exchange holds elements of the world alone": 1}


@pytest.mark.parametrize("mixed_valence", [False, True])
@pytest.mark.parametrize("prototype", ["SrTiO3", "Al2O3", "Fe3O4", "NaCl"])
def test_decorations_are_all_neutral_ones_of_the_prototype_alike(
    prototype: str, mixed_valence: bool, rng: np.random.Generator
) -> None:
    space = space_of("Li", "Fe", "Ti", "O", "F", "N", "Ca", mixed_valence=mixed_valence, neutrality="off")
    counts = tuple(parse_formula(prototype).values())
    states = oxidation_states(TABLE)
    weights: Counter[str] = Counter()
    for elements in itertools.permutations(space.elements, len(counts)):
        choices = [states[next(iter(parse_formula(e)))] for e in elements]
        if mixed_valence:
            low = sum(n * min(c) for n, c in zip(counts, choices))
            neutral = low <= 0 <= sum(n * max(c) for n, c in zip(counts, choices))
        else:
            neutral = any(sum(n * q for n, q in zip(counts, chosen)) == 0 for chosen in itertools.product(*choices))
        if neutral:
            weights[Composition("".join(f"{e}{n}" for e, n in zip(elements, counts))).reduced_formula] += 1
    found = drawn(decoration(space, prototype), 300 * len(weights), rng)
    assert fits(found, {name: float(n) for name, n in weights.items()}) > 1e-3


def test_formulas_of_one_prototype_count_once(rng: np.random.Generator) -> None:
    space = space_of("Na", "Cl", "Mg", "O", neutrality="hard")
    found = prototypes(formulas("KBr", "CsI", "CaF2", "TiO2", "LaNi5F40"), space)
    assert sorted(sorted(row) for row in found.objects.counts.tolist()) == [[1, 1], [1, 2]]
    assert sum(found.left_out.values()) == 1
    counts = drawn(decoration(space, "KBr", "CsI", "CaF2"), 6000, rng)
    # AB: 12 ordered pairs, 4 of them neutral; AB2: 12, of which Na2O, MgCl2 and Cl2O, as Cl may be +1
    assert fits(counts, {"NaCl": 2, "MgO": 2, "Na2O": 1, "MgCl2": 1, "Cl2O": 1}) > 1e-3


PEROVSKITE = Crystals(
    [221],
    [0, 3],
    [0, 1, 2],
    [38, 22, 8],
    [[3.9, 3.9, 3.9, 90, 90, 90]],
    np.zeros((3, 3)),
)
CUBIC = WyckoffSpace(
    space_groups=[221], elements=("Ba", "Ca", "Sr", "Ti", "Zr", "Sn", "O", "S"), n_elements=(3, 3), n_atoms=(5, 5),
    geometry=False,
)  # fmt: skip


def test_crystals_keep_their_space_group_and_positions(rng: np.random.Generator) -> None:
    kernel = WyckoffKernel(CUBIC)
    found = exchangeable(PEROVSKITE, CUBIC, TABLE)
    assert sorted(found.charges[0].tolist()) == [-2, 2, 4]
    searcher = IonExchange(kernel, lambda: found)
    table = SubstitutionProbability()
    weights: Counter[str] = Counter()
    for new in itertools.permutations(CUBIC.elements, 3):
        species = [f"{new[0]}2+", f"{new[1]}4+", f"{new[2]}2-"]
        if {*species} <= {str(ion) for ion in table.species} and new != ("Sr", "Ti", "O"):
            product = table.cond_prob_list(species, ["Sr2+", "Ti4+", "O2-"])
            if product > THRESHOLD:
                weights[Composition(f"{new[0]}{new[1]}{new[2]}3").reduced_formula] += product
    assert fits(drawn(searcher, 4000, rng), dict(weights)) > 1e-3
    crystals = kernel.objects(searcher.propose(200, rng))
    assert set(crystals.space_group.tolist()) == {221}
    for start in crystals.site_offsets[:-1].tolist():
        sites = dict(zip(crystals.letter[start : start + 3].tolist(), crystals.atomic_number[start : start + 3]))
        assert sorted(sites) in ([0, 1, 2], [0, 1, 3])  # up to the choice of origin
        assert sites[max(sites)] in (8, 16)


def test_decorated_crystals_are_those_of_brute_force(rng: np.random.Generator) -> None:
    kernel = WyckoffKernel(CUBIC)
    twin = with_elements(PEROVSKITE, np.array([0]), np.array([[22, 38, 8]], dtype=np.int16))  # another of its kind
    shifted = Crystals(
        [221], [0, 3], [1, 0, 3], [38, 22, 8], PEROVSKITE.lattice, PEROVSKITE.parameters
    )  # by 1/2 1/2 1/2
    found = prototypes(Crystals.concatenate([PEROVSKITE, twin, shifted]), CUBIC)
    assert len(found.objects) == 1
    searcher = PrototypeDecoration(kernel, lambda: found, CUBIC)
    numbers = [next(iter(parse_formula(e))) for e in CUBIC.elements]
    chosen = np.array(list(itertools.permutations(numbers, 3)), dtype=np.int16)
    states, inside, _ = kernel.find(with_elements(PEROVSKITE, np.zeros(len(chosen), dtype=np.int64), chosen))
    expected = {row.tobytes() for row in states[inside]}
    assert 1 < len(expected) < len(chosen)
    proposed = searcher.propose(60 * len(expected), rng)
    assert {row.tobytes() for row in proposed} == expected


@pytest.mark.parametrize("make", [exchange, decoration])
def test_arrays_give_the_same_draws_without_the_file(make: Any) -> None:
    searcher = make(WIDE, "NaCl", "SrTiO3", "Fe2O3", "LiFePO4")

    def gone() -> Sources:
        raise AssertionError("the file is read again")

    again = type(searcher)(searcher.kernel, gone, *([WIDE] if make is decoration else []))
    again.load_arrays(searcher.arrays())
    one, other = (s.propose(300, np.random.default_rng(5)) for s in (searcher, again))
    assert np.array_equal(one, other)
    assert all(np.array_equal(value, again.arrays()[key]) for key, value in searcher.arrays().items())
    crystals = PrototypeDecoration(WyckoffKernel(CUBIC), lambda: prototypes(PEROVSKITE, CUBIC), CUBIC)
    again = PrototypeDecoration(WyckoffKernel(CUBIC), gone, CUBIC)
    again.load_arrays(crystals.arrays())
    one, other = (s.propose(50, np.random.default_rng(5)) for s in (crystals, again))
    assert np.array_equal(one, other)


def test_a_world_that_nothing_leads_to_is_said(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oreflow.agent.search.known_objects._MOST_TRIED", 20_000)
    space = space_of("Na", "Mg", "Cl", "O", required=("Cl", "O"))
    searcher = decoration(space, "NaCl")
    with pytest.raises(TrainingError, match="objects of the world among 20480 draws from 1 known ones, got none"):
        searcher.propose(1, rng)
