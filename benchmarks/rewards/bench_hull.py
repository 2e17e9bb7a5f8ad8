"""Hull energies: compositions a second and agreement, ours against pymatgen's PhaseDiagram, in one process.

    python -m benchmarks.rewards.bench_hull --data reference.csv.gz [--compositions 1000] [--rounds 5] [--seed 0]

Method: random reduced formulas of two to four elements in random chemical systems of the reference, a tenth of them
formulas that the reference holds. pymatgen builds a PhaseDiagram a system, timed apart, and is then asked for
decomposition and hull energy a composition; ours has no hulls to build and is timed on the same compositions, without
and with the decompositions as text. Rates are medians over rounds, compilation and imports are not timed. Two
decompositions are equal when they hold the same reduced formulas in the same amounts to 1e-6.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import Reference, read_reference
from oreflow.rewards.terms.energy.energy_above_hull import EnergyAboveHull


def draw(reference: Reference, n: int, seed: int) -> Compositions:
    """Reduced formulas of two to four elements, each in a chemical system that the reference holds a compound of."""
    rng = np.random.default_rng(seed)
    sizes = reference.compositions.n_elements
    rows = [rng.choice(np.flatnonzero(sizes == 2 + i % 3)) for i in range(n)]
    picked = reference.compositions[np.array(rows)]
    zs = picked.atomic_numbers[:, :4]
    random = np.where(zs > 0, rng.integers(1, 9, size=zs.shape), 0)
    known = rng.random((n, 1)) < 0.1
    return Compositions(zs, np.where(known, picked.counts[:, :4], random)).reduced()


def as_dicts(batch: Compositions) -> list[dict[str, int]]:
    """Rows as counts by symbol."""
    names = symbols()
    return [
        {names[z]: n for z, n in zip(zs, ns) if z}
        for zs, ns in zip(batch.atomic_numbers.tolist(), batch.counts.tolist())
    ]


def pymatgen_entries(reference: Reference, system: frozenset[str], by_system: dict) -> list:
    """The elements and all entries of a chemical system, as pymatgen wants them."""
    from pymatgen.analysis.phase_diagram import PDEntry

    entries = [PDEntry(symbol, 0.0) for symbol in sorted(system)]
    for size in range(2, len(system) + 1):
        for subset in _subsets(sorted(system), size):
            for composition, energy in by_system.get(subset, ()):
                entries.append(PDEntry(composition, energy * composition.num_atoms))
    return entries


def _subsets(items: list[str], size: int) -> list[frozenset[str]]:
    from itertools import combinations

    return [frozenset(c) for c in combinations(items, size)]


def grouped(reference: Reference) -> dict:
    """pymatgen compositions and energies by chemical system."""
    from pymatgen.core import Composition

    out: dict = {}
    for counts, energy in zip(as_dicts(reference.compositions), reference.energies.tolist()):
        out.setdefault(frozenset(counts), []).append((Composition(counts), energy))
    return out


def seconds(function: Callable[[], object], rounds: int) -> float:
    """Median time of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="reference: CSV of formula and formation_energy_per_atom")
    parser.add_argument("--compositions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    from pymatgen.analysis.phase_diagram import PhaseDiagram
    from pymatgen.core import Composition

    n = arguments.compositions
    start = time.perf_counter()
    reference = read_reference(arguments.data)
    phases = CompetingPhases(reference)
    print(f"{len(reference):,} formulas read and indexed in {time.perf_counter() - start:.1f} s")
    batch = draw(reference, n, arguments.seed)
    phases.hull(batch)

    by_system = grouped(reference)
    theirs = [Composition(counts) for counts in as_dicts(batch)]
    systems = [frozenset(str(e) for e in composition.elements) for composition in theirs]
    entries = {system: pymatgen_entries(reference, system, by_system) for system in set(systems)}
    start = time.perf_counter()
    diagrams = {system: PhaseDiagram(entries[system]) for system in entries}
    building = time.perf_counter() - start

    def ask_pymatgen() -> list:
        return [diagrams[s].get_decomp_and_hull_energy_per_atom(c) for s, c in zip(systems, theirs)]

    answers = ask_pymatgen()
    hull = phases.hull(batch)
    differences = np.abs(hull.energies - np.array([energy for _, energy in answers]))
    equal = 0
    for row, (decomposition, _) in enumerate(answers):
        expected = {e.composition.reduced_formula: amount for e, amount in decomposition.items()}
        ours = {
            Composition(phases.phase(k).formulas()[0]).reduced_formula: amount
            for k, amount in zip(hull.products[row].tolist(), hull.amounts[row].tolist())
            if k >= 0
        }
        equal += expected.keys() == ours.keys() and all(abs(expected[f] - ours[f]) < 1e-6 for f in ours)
    print(f"{n} compositions in {len(entries)} chemical systems")
    print(f"  largest |difference|        {differences.max():.2e} eV/atom")
    print(f"  equal decompositions        {equal} of {n}")

    peer = seconds(ask_pymatgen, arguments.rounds)
    print(f"pymatgen: hulls built         {len(entries) / building:12,.0f} a second")
    print(f"pymatgen: hulls built before  {n / peer:12,.0f} compositions a second")
    for name, function in (
        ("energies", lambda: phases.hull(batch)),
        ("with text", lambda: phases.decompositions(phases.hull(batch))),
    ):
        ours_seconds = seconds(function, arguments.rounds)
        rate = f"{n / ours_seconds:12,.0f} compositions a second, {peer / ours_seconds:.1f} x"
        print(f"oreflow: {name:9s}            {rate}")
    term = EnergyAboveHull(arguments.data)
    whole = seconds(lambda: term(batch), arguments.rounds)
    print(f"oreflow: the whole term       {n / whole:12,.0f} compositions a second, predicted energy included")
    one_each = batch[np.unique([systems.index(s) for s in entries])]
    each = seconds(lambda: phases.hull(one_each), arguments.rounds)
    print(f"oreflow: new systems          {len(one_each) / each:12,.0f} a second (nothing is built or kept)")
    ratio = (building / len(entries) + peer / n) / (each / len(one_each))
    print(f"new systems, one composition each, building included: {ratio:.0f} x")


if __name__ == "__main__":
    main()
