"""How far the bins of free coordinates are part of the target: grid 24 against 48, R counted and R as a density.

    python -m benchmarks.agent.bench_grids [--groups 123 129 164 ...]

The exact target R/Z of the world of `runs/configs/tiny_groups.yaml`, narrowed to these space groups, on both grids;
nothing is trained. Printed are the total variation between the two distributions over decorations, and by what factor
the finer grid multiplies the weight of a decoration of k free coordinates, in the median over decorations. (Along a
polar axis the first site is the origin, and has one coordinate less.)
"""

import argparse
from collections import defaultdict

import numpy as np

from benchmarks.records import ROOT
from oreflow.agent.config.run import load_config
from oreflow.agent.training.build import make_checked, make_scorer
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.symmetry.space_groups import space_group

CONFIG = "runs/configs/tiny_groups.yaml"
Weights = dict[str, tuple[int, float]]
"""Of each decoration: the free coordinates, and the sum of R over its geometries."""


def decorations(groups: list[int], grid: int, measure: str) -> Weights:
    """Sum the exact target's weights over the geometries of each decoration."""
    changes = [f"world.space_groups={groups}", f"world.grid={grid}", f"target.measure={measure}"]
    config = load_config(ROOT / CONFIG, [*changes, "target.space_groups=counted"])
    kernel, reward = make_checked(config, CONFIG)
    assert isinstance(kernel, WyckoffKernel)
    world = kernel.enumerate()
    states = world.states[world.can_stop]
    states = kernel.step(states, np.full(len(states), kernel.n_actions - 1))
    weight = np.exp(make_scorer(kernel, reward, of_states=True, target=config.target)(states))
    objects = kernel.objects(states)
    out: Weights = {}
    for row, (text, w) in enumerate(zip(kernel.describe(states), weight.tolist())):
        sites = slice(objects.site_offsets[row], objects.site_offsets[row + 1])
        group = space_group(int(objects.space_group[row]))
        k = sum(int(group.dof[letter]) for letter in objects.letter[sites].tolist()) - int(group.polar.sum())
        name = text.partition(" |")[0]
        out[name] = k, out.get(name, (k, 0.0))[1] + w
    return out


def main() -> None:
    """Print both measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[129, 136, 166, 186, 194, 216])
    options = parser.parse_args()
    for measure in ("density", "counted"):
        coarse, fine = (decorations(options.groups, grid, measure) for grid in (24, 48))
        total = [sum(w for _, w in weights.values()) for weights in (coarse, fine)]
        moved = 0.5 * sum(
            abs(coarse.get(d, (0, 0.0))[1] / total[0] - fine.get(d, (0, 0.0))[1] / total[1]) for d in coarse | fine
        )
        factors = defaultdict(list)
        for name in coarse.keys() & fine.keys():
            factors[coarse[name][0]].append(fine[name][1] / coarse[name][1])
        by_k = ", ".join(f"k = {k}: x {np.median(found):.3g}" for k, found in sorted(factors.items()))
        print(f"{measure:8s} {len(fine)} decorations, total variation {moved:.4f}; weight {by_k}", flush=True)


if __name__ == "__main__":
    main()
