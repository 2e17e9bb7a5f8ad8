"""Two references on one scale: shifts that are known, residuals that are honest, and what is refused."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.rewards.errors import ReferenceTableError, ReferenceTableWarning
from oreflow.rewards.reference.alignment import align, aligned, read_aligned
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import Reference, read_reference

ELEMENTS = ("Li", "Na", "Mg", "Al", "Fe", "O", "S", "Cl")
SHIFTS = dict(zip(ELEMENTS, (0.0, 0.02, -0.03, 0.05, -0.2, 0.3, 0.1, 0.15)))


def formulas(rng: np.random.Generator, n: int) -> list[dict[str, int]]:
    out = []
    while len(out) < n:
        chosen = rng.choice(len(ELEMENTS), size=int(rng.integers(2, 4)), replace=False)
        counts = {ELEMENTS[i]: int(rng.integers(1, 6)) for i in chosen}
        if np.gcd.reduce(list(counts.values())) == 1 and counts not in out:
            out.append(counts)
    return out


def written(path: Path, energies: dict[str, float]) -> Reference:
    rows = "".join(f"{formula},{energy!r}\n" for formula, energy in energies.items())
    path.write_text("formula,formation_energy_per_atom\n" + rows)
    return read_reference(path)


def name(counts: dict[str, int]) -> str:
    return "".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in counts.items())


def shift(counts: dict[str, int]) -> float:
    return sum(SHIFTS[s] * n for s, n in counts.items()) / sum(counts.values())


@pytest.fixture
def two(tmp_path: Path, rng: np.random.Generator) -> tuple[Reference, Reference]:
    """`b` is `a` with a shift an element, but for noise, and for one formula in twenty which is another polymorph."""
    a, b = {"O2": 0.0, "Cl2": 0.0}, {"O2": 0.0}
    for number, counts in enumerate(formulas(rng, 300)):
        energy = float(rng.uniform(-3, 0))
        a[name(counts)] = energy
        wrong = 0.6 if number % 20 == 0 else 0.0
        if number % 3:
            b[name(counts)] = energy + shift(counts) + float(rng.normal(0, 0.005)) + wrong
    b["LiNaMgAl"] = -0.4
    return written(tmp_path / "a.csv", a), written(tmp_path / "b.csv", b)


def test_shifts_are_found_in_spite_of_outliers(two: tuple[Reference, Reference]) -> None:
    found = align(*two)
    assert found.n_common == 200
    for symbol, value in SHIFTS.items():
        assert found.shifts[atomic_number(symbol)] == pytest.approx(value, abs=0.01), symbol
    assert not found.fitted[atomic_number("K")]
    assert found.shifts[atomic_number("K")] == 0
    # The noise is 0.005 in standard deviation, 0.0034 in the median; one in twenty is off by 0.6.
    assert found.residual_median == pytest.approx(0.0034, abs=0.0015)
    assert found.residual_mean == pytest.approx(0.05 * 0.6 + 0.95 * 0.004, abs=0.012)
    assert found.mean_before > 2 * found.residual_mean
    assert found.figures()["shifts_ev_per_atom"]["Fe"] == found.shifts[26]


def test_residuals_are_of_formulas_that_the_fit_did_not_see(tmp_path: Path, rng: np.random.Generator) -> None:
    """Pure noise of ten formulas of twenty elements: a fit takes it all away, and says nothing of other formulas."""
    metals = ["Li", "Na", "K", "Rb", "Cs", "Be", "Mg", "Ca", "Sr", "Ba"]
    others = ["F", "Cl", "Br", "I", "O", "S", "Se", "Te", "N", "P"]
    pairs = [m + o for m, o in zip(metals, others)]
    noise = dict(zip(pairs, rng.choice([-0.3, 0.3], size=10).tolist()))
    a = written(tmp_path / "a.csv", dict.fromkeys(pairs, -1.0))
    b = written(tmp_path / "b.csv", {pair: -1.0 + value for pair, value in noise.items()})
    assert align(a, b).residual_mean == pytest.approx(0.3, abs=1e-9)


def test_the_merged_hull_is_that_of_all_formulas(tmp_path: Path, two: tuple[Reference, Reference]) -> None:
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    a, b = two
    merged, alignment = aligned(a, b)
    expected: dict[str, float] = {}
    for reference, energies in ((b, b.energies), (a, alignment.shifted(a.compositions, a.energies))):
        for formula, energy in zip(reference.compositions.formulas(), energies.tolist()):
            key = Composition(formula).reduced_formula
            expected[key] = min(energy, expected.get(key, np.inf))
    assert len(merged) == len(expected) == 303
    found = dict(zip(map(_reduced, merged.compositions.formulas()), merged.energies.tolist()))
    assert found == pytest.approx(expected, abs=1e-12)
    assert (found["O2"], found["Cl2"]) == (0.0, 0.0)  # elements are not shifted
    entries = [PDEntry(Composition(f), e * Composition(f).num_atoms) for f, e in expected.items()]
    entries += [PDEntry(Composition(s), 0.0) for s in ELEMENTS]
    diagram = PhaseDiagram(entries)
    hull = CompetingPhases(merged).hull(merged.compositions)
    for formula, energy in zip(merged.compositions.formulas(), hull.energies.tolist()):
        composition = Composition(formula)
        assert energy == pytest.approx(diagram.get_hull_energy_per_atom(composition), abs=1e-6)


def _reduced(formula: str) -> str:
    from pymatgen.core import Composition

    return str(Composition(formula).reduced_formula)


def test_the_merged_reference_does_not_depend_on_the_order_of_rows(tmp_path: Path, two: Any) -> None:
    a, b = two
    lines = a.path.read_text().splitlines()
    (tmp_path / "other.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    again, _ = aligned(read_reference(tmp_path / "other.csv"), b)
    merged, _ = aligned(a, b)
    assert merged.energies.tolist() == again.energies.tolist()
    assert merged.compositions.formulas() == again.compositions.formulas()
    assert merged.sha256 == hashlib.sha256(f"{a.sha256} aligned to {b.sha256}".encode()).hexdigest()


def test_energies_of_another_kind_are_refused(tmp_path: Path, two: tuple[Reference, Reference]) -> None:
    a, b = two
    rng = np.random.default_rng(1)
    other = {f: float(rng.uniform(-3, 0)) for f in map(str, a.compositions.formulas()) if f != "O"}
    with pytest.raises(ReferenceTableError, match=r"energies are of different kinds .another functional"):
        aligned(written(tmp_path / "other.csv", other), b)
    few = written(tmp_path / "few.csv", dict(list(other.items())[:9]))
    with pytest.raises(ReferenceTableError, match="expected at least 10 compounds in both"):
        align(few, b)


def test_between_the_limits_is_a_warning_and_the_limit_is_the_users(tmp_path: Path, two: Any) -> None:
    a, b = two
    rng = np.random.default_rng(1)
    energies = zip(a.compositions.formulas(), a.energies.tolist())
    noisy = written(tmp_path / "noisy.csv", {f: min(e + float(rng.normal(0, 0.05)), 0.0) for f, e in energies})
    with pytest.warns(ReferenceTableWarning, match="noisy.csv aligned to b.csv .* eV/atom, held out"):
        _, alignment = aligned(noisy, b)
    assert 0.05 < alignment.residual_mean < 0.1
    with pytest.raises(ReferenceTableError, match=r"expected at most 0\.02"):
        aligned(noisy, b, 0.02)


def test_without_another_reference_nothing_is_aligned(two: tuple[Reference, Reference]) -> None:
    reference, alignment = read_aligned(two[0].path, None)
    assert alignment is None
    assert reference.energies.tolist() == two[0].energies.tolist()
