"""What a prior of formulas knows of chemical systems that it never saw, and what its draws are worth.

    python -m benchmarks.agent.bench_prior --data FILE [--steps N] [--systems N] [--plugin FILE.py --set KEY=VALUE]

Chemical systems of at least eight known formulas are drawn by a fixed seed and left out of the fit as a whole. Then all
formulas of each system in the prior's world are ranked by their exact likelihood, all build orders summed: of N known
formulas, how many stand among the first 3 N? The shipped prior's draws are compared with uniform random formulas of the
same world, and with those of a genetic search for neutral formulas of low predicted formation energy, in neutrality and
in how many formulas held out of its fit they meet. Beside them stand the shares that others published, each under a
rule of its own: MatGAN (Dan et al., npj Comput. Mater. 6, 84, 2020) was trained on compounds already filtered to be
neutral and balanced; materials transformers (Fu et al., Mach. Learn.: Sci. Technol. 4, 015001, 2023); BLMM (Wei et al.,
arXiv 2204.11953).
"""

import argparse
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import oreflow
from oreflow.agent.config.run import override_config
from oreflow.agent.learners.prior import split
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.sampling.prior_card import shares_by_rules
from oreflow.agent.sampling.trained_run import TrainedRun, load_run, open_prior
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.tables.formulas import read_reference
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.contract.enumeration import enumerate_states
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.registry import load_plugin

LEAST_KNOWN, N_DRAWS, N_SCORED = 8, 10_000, 2_000
PUBLISHED = {
    "MatGAN, trained on filtered compounds": "neutral and balanced 84.5 %",
    "materials transformers, the best of seven": "neutral 97.61 %, balanced 91.22 %",
    "BLMM": "neutral 89.7 %, balanced 84.8 %",
}


def systems_of(known: Compositions) -> dict[tuple[int, ...], list[int]]:
    """Rows of the known formulas by their elements."""
    out: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, zs in enumerate(known.atomic_numbers.tolist()):
        out[tuple(z for z in zs if z)].append(row)
    return out


def fit(config: dict[str, Any], known: Compositions, kept: np.ndarray, folder: Path) -> TrainedRun:
    """Fit a prior like the shipped one to some of the known formulas."""
    path = folder / "kept.csv"
    pd.DataFrame({"formula": known[kept].formulas()}).to_csv(path, index=False)
    config["sampler"]["warm_start"]["path"] = str(path)
    started = time.process_time()
    oreflow.train(config, folder / "run", quiet=False)
    run = load_run(RunFolder(folder / "run"))
    assert run.policy is not None
    known_states = run.kernel.find(known[kept])[0]  # type: ignore[attr-defined]
    held_out = split(known_states, run.config)[0][:N_SCORED]
    log_p = log_terminating_probability(run.kernel, run.policy, held_out)
    spent, sampler = time.process_time() - started, run.config.sampler
    print(
        f"{sampler.policy}, {sampler.steps} steps in {spent:.0f} s of CPU time: "
        f"{-log_p.mean():.2f} ± {log_p.std() / len(log_p) ** 0.5:.2f} nats a formula over {len(log_p)} held out"
    )
    return run


def genetic(world: dict[str, Any], folder: Path) -> TrainedRun:
    """Search the prior's world for neutral formulas of low formation energy, with a reward for each draw of others."""
    terms = [
        {"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}},
        {"name": "charge_balance", "shape": {"kind": "target", "value": 0.0, "width": 0.5}},
    ]
    config = {
        "schema_version": 1,
        "world": world,
        "reward": {"terms": terms},
        "sampler": {"kind": "genetic", "steps": N_DRAWS // 250, "batch": 250},
    }
    oreflow.train(config, folder / "genetic", quiet=True)
    return load_run(RunFolder(folder / "genetic"))


def all_formulas(run: TrainedRun, elements: tuple[int, ...]) -> Compositions:
    """All formulas of exactly these elements in the prior's world."""
    assert isinstance(run.kernel, CompositionKernel)
    names = tuple(symbols()[z] for z in elements)
    space = replace(run.kernel.space, elements=names, n_elements=(len(names), len(names)), required=names)
    kernel = CompositionKernel(space)
    world = enumerate_states(kernel)
    states = world.states[world.can_stop]
    return kernel.objects(kernel.step(states, np.full(len(states), kernel.n_actions - 1)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="table of known formulas")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--systems", type=int, default=40)
    parser.add_argument("--plugin", type=Path, help="Python file that registers a policy")
    parser.add_argument("--set", action="append", default=[], help="change the fit: KEY=VALUE")
    options = parser.parse_args()
    shipped = open_prior("compositions")
    known = read_reference(options.data)[0].reduced()
    known = known[shipped.kernel.find(known)[1]]  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    systems = systems_of(known)
    rich = [elements for elements, rows in systems.items() if len(rows) >= LEAST_KNOWN and len(elements) <= 3]
    left_out = [rich[i] for i in rng.permutation(len(rich))[: options.systems]]
    kept = np.ones(len(known), dtype=np.bool_)
    for elements in left_out:
        kept[systems[elements]] = False
    config = shipped.config.model_dump(mode="json")
    config["sampler"]["steps"] = options.steps
    if options.plugin is not None:
        load_plugin(options.plugin)
    config = override_config(config, options.set, None)
    with tempfile.TemporaryDirectory() as folder:
        run = fit(config, known, kept, Path(folder))
    found = total = 0
    for elements in left_out:
        every = all_formulas(run, elements)
        states, inside = run.kernel.find(every)  # type: ignore[attr-defined]
        assert inside.all()
        assert run.policy is not None
        log_p = log_terminating_probability(run.kernel, run.policy, states)
        n = len(systems[elements])
        first = every[np.argsort(-log_p)[: 3 * n]]
        hits = len(set(first.key_bytes()) & set(known[np.array(systems[elements])].key_bytes()))
        found, total = found + hits, total + n
        print(f"{'-'.join(symbols()[z] for z in elements):12s} {hits:3d} of {n:3d} known among {3 * n} of {len(every)}")
    print(f"all: {found} of {total} known formulas ({found / total:.1%}) of {len(left_out)} systems left out\n")

    states = shipped.kernel.find(known)[0]  # type: ignore[attr-defined]
    held_out, _ = split(states, shipped.config)
    unseen = set(shipped.kernel.objects(held_out).key_bytes())
    with tempfile.TemporaryDirectory() as folder:
        searched = genetic(shipped.config.model_dump(mode="json")["world"], Path(folder))
        population = searched.sampler.draw(N_DRAWS, rng)
    for name, drawn in (
        ("the shipped prior", shipped.sampler.draw(N_DRAWS, rng)),
        ("uniform random", shipped.kernel.sample_uniform(N_DRAWS, rng)),  # type: ignore[attr-defined]
        (f"genetic search, {len(population)} last ones", population),
    ):
        objects = shipped.kernel.objects(drawn)
        met = len(unseen & set(objects.key_bytes()))
        shares = {key: value for key, value in shares_by_rules(objects).items() if isinstance(value, float)}
        print(f"{name}: {met} of {len(unseen)} held-out formulas met; {shares}")
    for name, published in PUBLISHED.items():
        print(f"{name}: {published} (published)")


if __name__ == "__main__":
    main()
