"""Geometries that a policy has sampled beside those that a search finds of the same decorations: which is the lower.

    python -m benchmarks.agent.bench_sampled_geometries RUN_OR_TABLE [-n 60]

Of the first n distinct decorations of a table whose crystals have a geometry, the sampled geometry and the first one
that `oreflow realise` finds (ranked by CHGNet) are both judged by CHGNet as they are, and by their contact ratio.
Printed are medians, and the share of decorations of which the search has the lower energy; its error is binomial.
"""

import argparse
import math
from pathlib import Path

import numpy as np

from oreflow.agent.errors import RealisationError
from oreflow.agent.realisation.geometries import Settings, find_geometries
from oreflow.agent.realisation.inputs import read_rows, table_of
from oreflow.agent.realisation.ranking import ranking
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.distances import contacts
from oreflow.envs.objects.labels import protostructure_labels
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("-n", type=int, default=60)
    arguments = parser.parse_args()
    energies_of = ranking("chgnet")
    assert energies_of is not None
    seen: set[str] = set()
    energies, ratios = [], []
    n_failed = 0
    for row in read_rows(table_of(arguments.table)):
        if row.crystal is None or not row.crystal.has_geometry[0]:
            continue
        label = protostructure_labels(row.crystal)[0]
        if label in seen:
            continue
        seen.add(label)
        try:
            found = find_geometries(row.crystal, Settings(keep=1, rank="chgnet"), energies_of).geometries[0]
        except RealisationError:
            n_failed += 1
            continue
        structures = [*pymatgen_structures(row.crystal), found.structure]
        energies.append(energies_of(structures))
        both = (row.crystal, found.crystal)
        ratios.append([contacts(crystal.atoms(), covalent_radii())[1][0] for crystal in both])
        if len(energies) == arguments.n:
            break
    e, r = np.array(energies), np.array(ratios)
    ok = np.isfinite(e).all(axis=1)
    share = float((e[ok, 1] < e[ok, 0]).mean())
    error = math.sqrt(share * (1 - share) / ok.sum())
    print(
        f"decorations                {len(e)}, without a realised geometry {n_failed}, without an energy {(~ok).sum()}"
    )
    print(f"realised is lower          {share:.1%} ± {error:.1%} of {ok.sum()}")
    print(f"sampled above realised     {np.median(e[ok, 0] - e[ok, 1]):.2f} eV/atom by CHGNet (median)")
    print(f"contact ratio              sampled {np.median(r[:, 0]):.2f}, realised {np.median(r[:, 1]):.2f} (median)")


if __name__ == "__main__":
    main()
