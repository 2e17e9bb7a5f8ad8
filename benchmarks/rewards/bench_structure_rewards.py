"""Structure rewards on real structures: equality with pymatgen, and structures a second of both on one core.

    NUMBA_NUM_THREADS=1 python -m benchmarks.rewards.bench_structure_rewards TABLE.csv.gz [--structures 1000]

The table has the columns `lattice` (a b c in angstrom, alpha beta gamma in degrees) and `sites` (symbols, each with
coordinates, `;` between them).

Method: pymatgen's figures are its `distance_matrix` for the shortest distance, its neighbour list within 1.2 times the
largest two radii for coordination by radii, `MinimumDistanceNN` for that by nearest neighbours, and `calculate_bv_sum`
over `get_all_neighbors` for bond valences. The shortest distances compared come from neighbour lists, as the distance
matrix leaves out an atom's own images. Each round times all of them anew; figures are medians over rounds. Reading,
building of objects and compilation are not timed; no symmetry is used.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numba
import numpy as np
import pandas as pd
from pymatgen.analysis.bond_valence import BV_PARAMS, ELECTRONEG, calculate_bv_sum
from pymatgen.analysis.local_env import MinimumDistanceNN
from pymatgen.core import Lattice, Structure
from tests.support.textbook import atoms_of

from oreflow.envs.chemistry.elements import electronegativities
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.structure.bond_valence import valence_sums
from oreflow.rewards.terms.structure.coordination import Coordination


def read(path: str, n: int) -> list[Structure]:
    """A random choice of the table's structures."""
    frame = pd.read_csv(path, keep_default_na=False)
    out = []
    for lattice, sites in frame.sample(min(n, len(frame)), random_state=0)[["lattice", "sites"]].to_numpy():
        parts = [site.split() for site in sites.split(";")]
        at = [[float(x) for x in part[1:4]] for part in parts]
        cell = Lattice.from_parameters(*map(float, lattice.split()))
        out.append(Structure(cell, [part[0] for part in parts], at))
    return out


def shortest_by_list(structure: Structure) -> float:
    radius = min(structure.lattice.abc) + 0.01  # an atom's own image is that near
    return float(structure.get_neighbor_list(radius)[3].min())


def coordination_by_radii(structure: Structure) -> float:
    radii = covalent_radii()[[site.specie.Z for site in structure]]
    i, j, _, distances = structure.get_neighbor_list(2.4 * float(radii.max()))
    return float((distances < 1.2 * (radii[i] + radii[j])).sum() / len(structure))


def coordination_by_nearest(structure: Structure) -> float:
    rule = MinimumDistanceNN(tol=0.1)
    return float(np.mean([rule.get_cn(structure, i) for i in range(len(structure))]))


def signs(structure: Structure) -> np.ndarray:
    """Signs by electronegativity: cations below the mean of the structure's elements; 0 without parameters."""
    chi = electronegativities()[[site.specie.Z for site in structure]]
    known = np.array([site.specie in BV_PARAMS for site in structure])
    return np.where(known, np.where(chi <= np.unique(chi).mean(), 1, -1), 0).astype(np.int8)


def bond_valence_sums(structure: Structure, sign: np.ndarray) -> np.ndarray:
    """`calculate_bv_sum` for the neighbours of the other sign; its own signs, and its rule which pairs count, apply."""
    return np.array(
        [
            calculate_bv_sum(site, [other for other in others if own * sign[other.index] < 0])
            for site, own, others in zip(structure, sign, structure.get_all_neighbors(6.0))
        ]
    )


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    deviation = np.abs(ours - theirs)
    n_equal = int((deviation < 1e-6).sum())
    print(f"{what:24} {n_equal} of {len(ours)} equal to 1e-6; largest deviation {deviation.max():.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--structures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # pymatgen warns of elements without data
    structures = read(arguments.path, arguments.structures)
    atoms = atoms_of(structures)
    n, few = len(structures), structures[: max(len(structures) // 10, 1)]
    print(f"{n} structures, {len(atoms.atomic_numbers) / n:.1f} atoms each; {numba.get_num_threads()} thread(s)")

    by_radii, by_nearest, distance = Coordination("radii"), Coordination(), make_term("shortest_distance")
    compare("shortest distance", distance(atoms).values, np.array([shortest_by_list(s) for s in structures]))
    compare("coordination, radii", by_radii(atoms).values, np.array([coordination_by_radii(s) for s in structures]))
    subset = atoms_of(few)
    compare("coordination, nearest", by_nearest(subset).values, np.array([coordination_by_nearest(s) for s in few]))
    sign = [signs(s) for s in few]
    sums = valence_sums(subset, np.concatenate(sign), softness_angstrom=0.31)
    theirs = np.concatenate([bond_valence_sums(s, own) for s, own in zip(few, sign)])
    # pymatgen counts a bond only if one element is on its list of electronegative ones: compare where all are counted.
    counted = np.concatenate(
        [
            np.full(len(s), all(site.specie in ELECTRONEG for site, own_sign in zip(s, own) if own_sign < 0))
            for s, own in zip(few, sign)
        ]
    )
    compare("bond-valence sums, atoms", sums[counted], theirs[counted])

    bond_valence, ratio = make_term("bond_valence"), make_term("contact_ratio")
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "shortest_distance": (lambda: distance(atoms), lambda: [s.distance_matrix for s in few]),
        "contact_ratio": (lambda: ratio(atoms), lambda: [s.distance_matrix for s in few]),
        "coordination (radii)": (lambda: by_radii(atoms), lambda: [coordination_by_radii(s) for s in few]),
        "coordination (nearest)": (lambda: by_nearest(atoms), lambda: [coordination_by_nearest(s) for s in few]),
        "bond_valence": (
            lambda: bond_valence(atoms),
            lambda: [bond_valence_sums(s, own) for s, own in zip(few, sign)],
        ),
    }
    for name, (ours, theirs_of) in pairs.items():
        ours()
        rates = [(n / seconds(ours), len(few) / seconds(theirs_of)) for _ in range(arguments.rounds)]
        own, peer = (statistics.median(rate[k] for rate in rates) for k in (0, 1))
        factor = statistics.median(a / b for a, b in rates)
        print(f"{name:24} oreflow {own:10,.0f} structures/s   pymatgen {peer:8,.0f}/s   {factor:7,.0f} x")


if __name__ == "__main__":
    main()
