"""Convex hulls: against pymatgen's PhaseDiagram and against HiGHS, degenerate systems, and the laws a hull obeys."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition
from scipy.optimize import linprog

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.errors import ReferenceTableError
from oreflow.rewards.reference import hull_compiled as _hull_numba
from oreflow.rewards.reference import simplex_compiled
from oreflow.rewards.reference.convex_hull import CompetingPhases, HullEnergies, hull_energies
from oreflow.rewards.reference.known_phases import Reference, read_reference

Phases = dict[tuple[tuple[int, int], ...], float]


def batch_of(*formulas: str) -> Compositions:
    return Compositions.from_dicts([parse_formula(formula) for formula in formulas])


def reference_of(phases: Phases) -> Reference:
    keys = sorted(phases)
    compositions = Compositions.from_dicts([dict(key) for key in keys]).reduced()
    return Reference(Path("known.csv"), "0" * 64, compositions, np.array([phases[key] for key in keys]), (), {})


def named(**energies: float) -> Reference:
    return reference_of({tuple(sorted(parse_formula(f).items())): e for f, e in energies.items()})


def random_phases(rng: np.random.Generator, elements: list[int], n: int, largest: int = 4) -> Phases:
    """Formulas of two to `largest` elements with energies of an ionic kind, a third of them above their elements."""
    phases: Phases = {}
    while len(phases) < n:
        chosen = rng.choice(elements, size=rng.integers(2, largest + 1), replace=False)
        counts = rng.integers(1, 6, size=len(chosen))
        divisor = int(np.gcd.reduce(counts))
        key = tuple(sorted((int(z), int(c) // divisor) for z, c in zip(chosen, counts)))
        phases.setdefault(key, float(rng.normal(-0.6, 0.8)))
    return phases


def by_highs(phases: Phases, counts: dict[int, int], exclude: bool = False) -> float:
    """The same programme, solved by scipy's HiGHS over all phases within the composition's elements."""
    zs = sorted(counts)
    columns, energies = [[float(z == e) for z in zs] for e in zs], [0.0] * len(zs)
    divisor = math.gcd(*counts.values())
    own = tuple((z, counts[z] // divisor) for z in zs)
    for key, energy in phases.items():
        if {z for z, _ in key} <= set(zs) and not (exclude and key == own):
            n = sum(c for _, c in key)
            columns.append([dict(key).get(z, 0) / n for z in zs])
            energies.append(energy)
    x = np.array([counts[z] for z in zs]) / sum(counts.values())
    return linprog(energies, A_eq=np.array(columns).T, b_eq=x, method="highs").fun


def pymatgen_entries(known: Phases) -> dict[tuple[tuple[int, int], ...], PDEntry]:
    names = symbols()
    return {
        key: PDEntry(Composition({names[z]: n for z, n in key}), energy * sum(n for _, n in key))
        for key, energy in known.items()
    }


def amounts_of(phases: CompetingPhases, hull: HullEnergies, row: int) -> dict[str, float]:
    return {
        Composition(phases.phase(k).formulas()[0]).reduced_formula: amount
        for k, amount in zip(hull.products[row].tolist(), hull.amounts[row].tolist())
        if k >= 0
    }


def test_equals_pymatgen_in_energies_and_products(rng: np.random.Generator) -> None:
    elements = [3, 12, 8, 15, 26]
    known = random_phases(rng, elements, 120)
    phases = CompetingPhases(reference_of(known))
    counts = [
        {z: int(rng.integers(1, 9)) for z in rng.choice(elements, size=2 + i % 3, replace=False).tolist()}
        for i in range(300)
    ]
    counts += [dict(key) for key in known]
    hull = phases.hull(Compositions.from_dicts(counts))
    names = symbols()
    entries = [
        PDEntry(Composition({names[z]: n for z, n in key}), e * sum(n for _, n in key)) for key, e in known.items()
    ]
    entries += [PDEntry(names[z], 0.0) for z in elements]
    diagrams = {
        system: PhaseDiagram([e for e in entries if {s.Z for s in e.composition} <= set(system)])
        for system in {tuple(sorted(c)) for c in counts}
    }
    for row, c in enumerate(counts):
        composition = Composition({names[z]: n for z, n in c.items()})
        products, energy = diagrams[tuple(sorted(c))].get_decomp_and_hull_energy_per_atom(composition)
        assert hull.energies[row] == pytest.approx(energy, abs=1e-10)
        theirs = {entry.composition.reduced_formula: amount for entry, amount in products.items()}
        assert amounts_of(phases, hull, row) == pytest.approx(theirs, abs=1e-8)


def test_without_the_same_formula_it_is_pymatgens_phase_separation_energy(rng: np.random.Generator) -> None:
    elements = [3, 12, 8]
    known = random_phases(rng, elements, 40, largest=3)
    hull = hull_energies(
        Compositions.from_dicts([dict(key) for key in known]), reference_of(known), include_same_formula=False
    )
    entries = pymatgen_entries(known)
    diagram = PhaseDiagram([*entries.values(), *(PDEntry(symbols()[z], 0.0) for z in elements)])
    signs = set()
    for row, (key, energy) in enumerate(known.items()):
        ours = energy - hull.energies[row]
        # pymatgen's optimiser stops at 1e-8 in its own scaled objective.
        assert ours == pytest.approx(diagram.get_phase_separation_energy(entries[key]), abs=1e-5)
        assert ours == pytest.approx(energy - by_highs(known, dict(key), exclude=True), abs=1e-9)
        signs.add(ours < 0)
    assert signs == {True, False}


def test_by_hand() -> None:
    phases = CompetingPhases(named(Li2O=-2.0, Li2O2=-1.6, Fe2O3=-1.7, LiFeO2=-1.9, FeO=0.3, Fe=-0.5))
    batch = batch_of("Li4O2", "Li3O2", "Fe", "FeO", "LiFe", "Li2Fe2O4", "LiO3", "Og")
    hull = phases.hull(batch)
    # Li3O2 lies between Li2O and Li2O2 (LiO): 0.6 Li atoms = 2/3 a + 1/2 (1 - a), so a = 0.6.
    expected = [-2.0, 0.6 * -2.0 + 0.4 * -1.6, 0.0, -1.7 * 5 / 6, 0.0, -1.9, -1.6 / 2, 0.0]
    np.testing.assert_allclose(hull.energies, expected, atol=1e-12)
    assert hull.n_competing.tolist() == [2, 2, 0, 2, 0, 5, 2, 0]
    assert phases.decompositions(hull) == [
        "1 Li2O",
        "0.6 Li2O + 0.4 Li2O2",
        "1 Fe",
        "0.8333 Fe2O3 + 0.1667 Fe",
        "0.5 Li + 0.5 Fe",
        "1 LiFeO2",
        "0.5 Li2O2 + 0.5 O",
        "1 Og",
    ]
    without = phases.hull(batch, include_same_formula=False)
    assert without.energies[5] == pytest.approx((3 * -2.0 + 5 * -1.7) / 8)
    assert without.energies[2] == 0.0
    assert without.n_competing.tolist() == hull.n_competing.tolist()


def test_a_reference_of_elements_only_and_rows_without_elements() -> None:
    empty = Compositions(np.array([[0, 0], [11, 17], [0, 0], [11, 17]]), np.array([[0, 0], [1, 1], [0, 0], [1, 2]]))
    for reference in (named(Fe=0.0), named(Fe=0.0)):
        hull = hull_energies(empty, reference)
        assert np.isnan(hull.energies).tolist() == [True, False, True, False]
        assert hull.energies[[1, 3]].tolist() == [0.0, 0.0]
    assert CompetingPhases(named(Fe=0.0)).decompositions(hull) == ["", "0.5 Na + 0.5 Cl", "", "0.6667 Cl + 0.3333 Na"]
    assert len(hull_energies(empty[:0], named(NaCl=-2.0)).energies) == 0


def test_formulas_without_energies_are_no_reference_of_a_hull(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("formula\nNaCl\n")
    with pytest.raises(ReferenceTableError, match=r"expected energies in .*a\.csv, got formulas only"):
        CompetingPhases(read_reference(tmp_path / "a.csv", energies=False))


def test_coplanar_phases_and_phases_on_tie_lines() -> None:
    """All compounds on one plane: any decomposition is right, the energy is the plane's, and pivots must not cycle."""
    names = ("Li", "Mg", "O", "F")
    known: Phases = {}
    for counts in itertools.product(range(4), repeat=4):
        if sum(c > 0 for c in counts) > 1 and math.gcd(*counts) == 1:
            total = sum(counts)
            key = tuple(sorted((parse_formula(n).popitem()[0], c) for n, c in zip(names, counts) if c))
            known[key] = -float(counts[2] + 2 * counts[3]) / total * (1 - (counts[2] + counts[3] == 0))
    phases = CompetingPhases(reference_of(known))
    batch = Compositions.from_dicts([dict(key) for key in known])
    hull = phases.hull(batch)
    assert np.isfinite(hull.energies).all()
    np.testing.assert_allclose(hull.amounts.sum(axis=1), 1.0, atol=1e-12)
    for row in range(0, len(batch), 11):
        assert hull.energies[row] == pytest.approx(by_highs(known, dict(list(known)[row])), abs=1e-9)


@pytest.mark.parametrize("n_elements", [6, 9, 12, 20])
def test_many_elements(rng: np.random.Generator, n_elements: int) -> None:
    """Both ways of collecting a system's phases: by subsets, and through the list when there are too many subsets."""
    elements = [*range(1, n_elements + 1), 64, 65, 118]
    known = random_phases(rng, elements, 400, largest=min(n_elements, 8))
    counts = [
        {int(z): int(rng.integers(1, 9)) for z in rng.choice(elements, size=n_elements, replace=False)}
        for _ in range(4)
    ]
    hull = hull_energies(Compositions.from_dicts(counts), reference_of(known))
    assert hull.energies == pytest.approx([by_highs(known, c) for c in counts], abs=1e-9)
    inside = [sum({z for z, _ in key} <= set(c) for key in known) for c in counts]
    assert hull.n_competing.tolist() == inside


def test_phases_are_found_by_subsets_too(rng: np.random.Generator) -> None:
    """With more chemical systems than subsets, each subset is looked up."""
    elements = list(range(1, 119, 3))
    known = random_phases(rng, elements, 1500, largest=3)
    keys = [key for key in known if len(key) == 3]
    words = CompetingPhases(reference_of(known))._words
    assert len(words) > 4 * 2**3
    batch = Compositions.from_dicts([dict(key) for key in keys[:200]])
    hull = hull_energies(batch, reference_of(known))
    for row, key in enumerate(keys[:200]):
        assert hull.n_competing[row] == sum({z for z, _ in other} <= {z for z, _ in key} for other in known)
        assert hull.energies[row] <= min(known[key], 0.0) + 1e-12


ELEMENTS = (3, 8, 12, 26)
FORMULAS = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 4), min_size=2, max_size=4)
# Few distinct energies, so that ties and coplanar phases occur.
ENERGIES = st.sampled_from([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5]) | st.floats(-3.0, 0.5)


def reduced_key(counts: dict[int, int]) -> tuple[tuple[int, int], ...]:
    divisor = math.gcd(*counts.values())
    return tuple(sorted((z, n // divisor) for z, n in counts.items()))


@st.composite
def references(draw: st.DrawFn) -> Phases:
    return {reduced_key(c): draw(ENERGIES) for c in draw(st.lists(FORMULAS, max_size=15))}


@given(references(), st.lists(FORMULAS, min_size=1, max_size=4), st.booleans())
def test_equals_highs(known: Phases, asked: list[dict[int, int]], exclude: bool) -> None:
    counts = asked + [dict(key) for key in known]
    reference = reference_of(known) if known else named(Fe=0.0)
    hull = hull_energies(Compositions.from_dicts(counts), reference, include_same_formula=not exclude)
    for row, c in enumerate(counts):
        assert hull.energies[row] == pytest.approx(by_highs(known, c, exclude), abs=1e-8)


@given(references(), FORMULAS, ENERGIES)
def test_the_hull_is_below_every_phase_and_never_rises_with_another(
    known: Phases, added: dict[int, int], energy: float
) -> None:
    batch = Compositions.from_dicts([*(dict(key) for key in known), added])
    with_it = dict(known)
    with_it[reduced_key(added)] = min(energy, known.get(reduced_key(added), energy))
    before, after = (
        hull_energies(batch, reference_of({((26, 1),): 0.0} | known)),
        hull_energies(batch, reference_of(with_it)),
    )
    assert (after.energies <= before.energies + 1e-9).all()
    assert (after.energies <= np.array([*(with_it[key] for key in known), energy]) + 1e-9).all()
    assert (before.energies <= 1e-12).all()


@given(references(), FORMULAS, FORMULAS)
def test_the_hull_is_convex(known: Phases, first: dict[int, int], second: dict[int, int]) -> None:
    mixed = {z: first.get(z, 0) + second.get(z, 0) for z in {*first, *second}}
    hull = hull_energies(Compositions.from_dicts([first, second, mixed]), reference_of({((26, 1),): 0.0} | known))
    n, m = sum(first.values()), sum(second.values())
    assert hull.energies[2] <= (n * hull.energies[0] + m * hull.energies[1]) / (n + m) + 1e-9


@given(references(), st.lists(FORMULAS, min_size=1, max_size=5), st.integers(1, 5))
def test_products_have_the_composition_and_the_energy(
    known: Phases, asked: list[dict[int, int]], multiple: int
) -> None:
    phases = CompetingPhases(reference_of({((26, 1),): 0.0} | known))
    batch = Compositions.from_dicts([{z: multiple * n for z, n in c.items()} for c in asked])
    hull = phases.hull(batch)
    for row, c in enumerate(asked):
        total, energy = dict.fromkeys(c, 0.0), 0.0
        for k, amount in zip(hull.products[row].tolist(), hull.amounts[row].tolist()):
            if k < 0:
                assert amount == 0
                continue
            pairs = [(z, n) for z, n in phases.phase(k).pairs()[0].tolist() if z]
            for z, n in pairs:
                total[z] += amount * n / sum(m for _, m in pairs)
            energy += amount * known.get(tuple(pairs), 0.0)
        assert energy == pytest.approx(hull.energies[row], abs=1e-7)
        assert total == pytest.approx({z: n / sum(c.values()) for z, n in c.items()}, abs=1e-7)
        assert (np.diff(hull.amounts[row]) <= 0).all()
        alone = phases.hull(batch[row : row + 1])
        assert alone.energies[0] == hull.energies[row]
        n = np.count_nonzero(alone.products[0] >= 0)
        assert alone.products[0, :n].tolist() == hull.products[row, :n].tolist()


def test_compiled_functions_equal_their_python_twins(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    known = random_phases(rng, [3, 8, 12, 26], 30)
    batch = Compositions.from_dicts([dict(key) for key in list(known)[:8]])
    for include in (True, False):
        compiled = hull_energies(batch, reference_of(known), include_same_formula=include)
        with monkeypatch.context() as patch:
            for name in ("_find", "_systems_within", "_phases_within", "_without", "minimise", "hull_kernel"):
                patch.setattr(_hull_numba, name, getattr(_hull_numba, name).py_func)
            patch.setattr(simplex_compiled, "_invert", simplex_compiled._invert.py_func)
            slow = hull_energies(batch, reference_of(known), include_same_formula=include)
        for field in ("products", "n_competing"):
            np.testing.assert_array_equal(getattr(compiled, field), getattr(slow, field))
        np.testing.assert_allclose(compiled.energies, slow.energies, atol=1e-12)
