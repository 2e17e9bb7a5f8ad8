"""Crystals through rewards: what terms are asked about, the cache's keys, worker processes, the contract's clauses."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.rewards.check import check_reward_term, check_shaped
from oreflow.rewards.check_probes import probe_crystals, relabelled_crystals, reverse_sites
from oreflow.rewards.composite import Reward, build, make_shape
from oreflow.rewards.contract.cache import CachedTerm
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.errors import RewardContractError
from oreflow.rewards.isolation.term import IsolatedTerm
from oreflow.rewards.registry import load_plugin, make_term
from tests.rewards.test_composite import Stub
from tests.support.textbook import atoms_of, textbook
from tests.whole.test_rewards_guide import section

STRUCTURE_TERMS = (
    "shortest_distance",
    "contact_ratio",
    "volume_per_atom",
    "density",
    "volume_ratio",
    "coordination",
    "bond_valence",
)
FORMULAS = ["ClNa", "CaF2", "O3SrTi", "O2Ti", "Mg", "Si", "FeS2", "Al2MgO4", "CuO", "Og"]


def without_geometry(crystals: Crystals, rows: list[int]) -> Crystals:
    lattice, parameters = crystals.lattice.copy(), crystals.parameters.copy()
    lattice[rows] = np.nan
    for row in rows:
        parameters[crystals.site_offsets[row] : crystals.site_offsets[row + 1]] = np.nan
    return Crystals(
        crystals.space_group, crystals.site_offsets, crystals.letter, crystals.atomic_number, lattice, parameters
    )


class OfCrystals(Stub):
    """Atoms in the primitive cell, plus whatever a test has it read from the crystals; remembers what it was asked."""

    def __init__(self, extra=lambda crystals: 0.0) -> None:
        super().__init__()
        self.requires = "structure"
        self.asked: Counter[bytes] = Counter()
        self.extra = extra

    def __call__(self, batch: Crystals) -> TermValues:
        self.asked.update(batch.key_bytes())
        n_atoms = np.diff(batch.atoms().offsets)
        return TermValues(n_atoms + self.extra(batch), np.ones(len(batch), dtype=np.bool_))


@pytest.mark.parametrize("name", STRUCTURE_TERMS)
def test_terms_keep_their_contract(name: str) -> None:
    check_reward_term(make_term(name))


def test_values_of_crystals_are_those_of_the_same_cells_by_pymatgen() -> None:
    """The textbook's cells are conventional and made by pymatgen; the crystals' are primitive and made from tables."""
    crystals = probe_crystals()[np.array([0, 1, 2, 4])]
    same = [textbook()[name] for name in ("rock salt", "fluorite", "perovskite", "magnesium")]
    same = [structure.copy() for structure in same]
    for structure, lattice in zip(same, crystals.lattice):
        structure.lattice = type(structure.lattice).from_parameters(*lattice)
    atoms = atoms_of(same)
    for name in STRUCTURE_TERMS:
        ours, theirs = make_term(name)(crystals), make_term(name)(atoms)
        assert ours.valid.tolist() == theirs.valid.tolist()
        assert np.allclose(ours.values, theirs.values, rtol=1e-9, equal_nan=True), name


def test_terms_of_compositions_are_asked_about_formulas() -> None:
    crystals = probe_crystals()
    assert crystals.compositions.reduced().formulas() == FORMULAS
    result = evaluate_term(make_term("charge_balance"), crystals)
    expected = make_term("charge_balance")(crystals.compositions.reduced())
    assert np.array_equal(result.values, expected.values, equal_nan=True)
    assert result.reasons == expected.reasons
    assert result.values[:4].tolist() == [0.0] * 4

    class OfPymatgen(Stub):
        batch_type = "pymatgen"

        def __call__(self, batch):
            return TermValues(np.array([float(c.num_atoms) for c in batch]), np.ones(len(batch), dtype=np.bool_))

    assert evaluate_term(OfPymatgen(), crystals).values[:3].tolist() == [2.0, 3.0, 5.0]


def test_a_term_may_ask_for_pymatgen_structures() -> None:
    class OfStructures(Stub):
        batch_type = "pymatgen"

        def __init__(self) -> None:
            super().__init__()
            self.requires = "structure"

        def __call__(self, batch):
            assert isinstance(batch, tuple)
            return TermValues(np.array([float(s.density) for s in batch]), np.ones(len(batch), dtype=np.bool_))

    crystals = without_geometry(probe_crystals()[:9], [3])
    result = evaluate_term(OfStructures(), crystals)
    assert np.flatnonzero(~result.valid).tolist() == [3]
    expected = make_term("density")(probe_crystals()[:9]).values
    assert np.allclose(result.values[result.valid], expected[result.valid], rtol=1e-6)
    check_reward_term(OfStructures())


def test_what_has_no_structure_is_invalid_and_not_asked_about() -> None:
    crystals = without_geometry(probe_crystals(), [0, 3, 9])
    term = OfCrystals()
    result = evaluate_term(term, crystals)
    assert result.valid.tolist() == [row not in (0, 3, 9) for row in range(10)]
    assert set(result.reasons) == {0, 3, 9}
    assert "needs a lattice and coordinates" in result.reasons[3]
    assert result.values[1] == 3
    assert sum(term.asked.values()) == 7
    nothing = evaluate_term(term, Compositions.from_dicts([{11: 1, 17: 1}]))
    assert not nothing.valid[0]
    assert "needs a structure, got a composition" in nothing.reasons[0]
    assert sum(term.asked.values()) == 7
    assert not evaluate_term(term, without_geometry(crystals, list(range(10)))).valid.any()
    assert len(evaluate_term(term, Compositions.from_dicts([])).values) == 0
    with pytest.raises(RewardContractError, match="needs a structure, got a composition"):
        check_reward_term(term, Compositions.from_dicts([{11: 1, 17: 1}]))


def test_an_exception_costs_its_crystal_only() -> None:
    def fails(crystals: Crystals) -> float:
        if (crystals.space_group == 136).any():
            raise ValueError("no rutile")
        return 0.0

    result = evaluate_term(OfCrystals(fails), without_geometry(probe_crystals(), [0]))
    assert np.flatnonzero(~result.valid).tolist() == [0, 3]
    assert result.reasons[3] == "ValueError: no rutile"
    assert "fails" in result.tracebacks[3]


def test_the_cache_tells_crystals_of_one_formula_apart() -> None:
    """Rutile with two coordinates of oxygen is two crystals and one formula."""
    crystals = probe_crystals()
    rutile = crystals[np.array([3])]
    parameters = rutile.parameters.copy()
    parameters[1, 0] = 0.31
    other = Crystals(
        rutile.space_group, rutile.site_offsets, rutile.letter, rutile.atomic_number, rutile.lattice, parameters
    )
    term = OfCrystals()
    cached = CachedTerm(term)
    both = Crystals.concatenate([rutile, other, rutile])
    cached(both)
    n_asked = term.asked.copy()
    cached(Crystals.concatenate([other, crystals]))
    assert len(n_asked) == 2
    new = term.asked - n_asked
    assert len(new) >= 9
    distances = CachedTerm(make_term("shortest_distance"))(both).values
    assert distances[0] == distances[2] != distances[1]
    formula = CachedTerm(make_term("charge_balance"))
    evaluate_term(formula, both)
    assert formula.n_evaluated == 4, "one formula, and in the first call each row again"


def test_a_reward_of_both_kinds_adds_up() -> None:
    reward = build(
        [
            {"name": "density", "shape": {"kind": "target", "value": 4.0, "width": 1.0}},
            {"name": "charge_balance", "shape": {"kind": "minimise", "beta": 2.0}},
            {"name": "contact_ratio", "shape": {"kind": "above", "threshold": 0.7, "width": 0.05}, "cache": True},
        ]
    )
    crystals = probe_crystals()
    result = reward(crystals)
    density, charge = make_term("density")(crystals), make_term("charge_balance")(crystals.compositions.reduced())
    ratio = make_term("contact_ratio")(crystals)
    by_hand = -((density.values - 4.0) ** 2) / 2 - 2.0 * charge.values
    by_hand -= np.log1p(np.exp(-(ratio.values - 0.7) / 0.05))
    assert result.valid.tolist() == (density.valid & charge.valid & ratio.valid).tolist()
    assert result.valid.sum() >= 5
    assert np.allclose(result.log_reward[result.valid], np.clip(by_hand, -50, 200)[result.valid])
    assert set(result.reasons()) == set(np.flatnonzero(~result.valid).tolist())
    check_shaped(reward, crystals)


BROKEN = {
    "depends on the order of the sites": lambda c: c.atomic_number[c.site_offsets[:-1]].astype(float),
    "origin is shifted": lambda c: np.add.reduceat(c.letter.astype(float), c.site_offsets[:-1]),
    "do not normalise over the batch": lambda c: float(len(c)),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_the_check_finds_what_depends_on_the_description(complaint: str) -> None:
    with pytest.raises(RewardContractError, match=complaint):
        check_reward_term(OfCrystals(BROKEN[complaint]))
    check_reward_term(OfCrystals())


def test_probes_are_the_same_crystals_in_two_descriptions() -> None:
    """By all distances within 6 angstrom, as pymatgen lists them."""
    from pymatgen.core import Lattice, Structure

    def fingerprint(crystals: Crystals, row: int) -> np.ndarray:
        atoms = crystals[np.array([row])].atoms()
        structure = Structure(Lattice(atoms.vectors[0]), atoms.atomic_numbers.tolist(), atoms.fractional)
        i, j, _, distances = structure.get_neighbor_list(6.0)
        z = atoms.atomic_numbers.astype(float)
        return np.sort(np.round(distances, 6) + 1e3 * np.minimum(z[i], z[j]) + 1e6 * np.maximum(z[i], z[j]))

    first, second, third = probe_crystals(), relabelled_crystals(), reverse_sites(probe_crystals())
    for row, formula in enumerate(FORMULAS):
        expected = fingerprint(first, row)
        for other in (second, third):
            found = fingerprint(other, row)
            assert len(found) == len(expected), formula
            assert np.abs(found - expected).max() < 1e-4, formula


PLUGIN = """
import os
import numpy as np
from oreflow import rewards

@rewards.register("longest_edge")
class LongestEdge:
    name, unit, version, citations, requires = "longest_edge", "angstrom", "1", (), "structure"

    def __call__(self, crystals):
        if (crystals.space_group == 136).any():
            os._exit(3)
        edges = np.linalg.norm(crystals.atoms().vectors, axis=2).max(axis=1)
        return rewards.TermValues(edges, np.ones(len(edges), dtype=bool), {"group": crystals.space_group.astype(int)})
"""


def test_workers_get_crystals_and_a_crash_costs_one(tmp_path: Path) -> None:
    plugin = tmp_path / "edges.py"
    plugin.write_text(PLUGIN)
    load_plugin(plugin)
    crystals = without_geometry(probe_crystals(), [0])
    term = IsolatedTerm("longest_edge", time_limit_s=60.0)
    result = evaluate_term(term, crystals)
    assert np.flatnonzero(~result.valid).tolist() == [0, 3]
    assert "exit code 3" in result.reasons[3]
    expected = np.linalg.norm(crystals[np.arange(1, 10)].atoms().vectors, axis=2).max(axis=1)
    keep = [row for row in range(10) if row not in (0, 3)]
    assert np.allclose(result.values[keep], np.delete(expected, 2))
    assert [result.columns["group"][row] for row in keep] == crystals.space_group[keep].tolist()
    assert term.n_workers_lost == 2, "the batch, then rutile alone"
    again = evaluate_term(term, crystals)
    assert term.n_workers_lost == 2, "rutile is set aside"
    assert np.array_equal(again.values, result.values, equal_nan=True)
    term.close()


def test_the_guides_structure_reward_gives_the_known_capacity(tmp_path: Path) -> None:
    code = section("Structures").partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "volumetric.py"
    path.write_text(code, encoding="utf-8")
    assert load_plugin(path) == ["volumetric_capacity"]
    term = make_term("volumetric_capacity")
    check_reward_term(term)
    licoo2 = Crystals(  # R-3m: Co on a, Li on b, O on c; Orman and Wiseman (1984)
        np.array([166]),
        np.array([0, 3]),
        np.array([0, 1, 2]),
        np.array([27, 3, 8]),
        np.array([[2.8161, 2.8161, 14.0536, 90.0, 90.0, 120.0]]),
        np.array([[0.0] * 3, [0.0] * 3, [0.2605, 0.0, 0.0]]),
    )
    value = evaluate_term(term, licoo2).values[0]
    volume = 2.8161**2 * 14.0536 * math.sqrt(3) / 2
    assert value == pytest.approx(3 / volume * 96485.332 / 3.6 / 0.602214076, rel=1e-6)
    assert f"LiCoO2 has {value:.0f} mAh/cm3" in section("Structures")


def test_a_fault_is_saved_with_its_crystal(tmp_path: Path) -> None:
    def extra(crystals: Crystals) -> float:
        if (crystals.space_group == 225).any():
            raise KeyError("cannot do these")
        return 0.0

    crystals = probe_crystals()
    crystals = crystals[np.argsort(crystals.space_group == 225, kind="stable")]  # those that fail come last
    (bad, *_) = np.flatnonzero(crystals.space_group == 225).tolist()
    assert bad > 0
    reward = Reward([(OfCrystals(extra), make_shape("maximise", {"beta": 1.0}))])
    failures = RewardFailures(tmp_path / "reward_failures.jsonl")
    failures.record(crystals, reward(crystals))
    entry = json.loads(failures.path.read_text().splitlines()[0])
    assert entry["formula"].endswith(" in space group 225")
    assert crystal_from_text([entry["structure"]]).key_bytes() == crystals[np.array([bad])].key_bytes()
