"""Exact distance from R/Z of GFlowNet and policy gradient in a world of 23 842 formulas, with and without log P_B.

    python -m benchmarks.agent.bench_proof [--only NAME ...] [--steps 10000] [--seed 0] [--out DIR] [--runs DIR]

Protocol: `runs/configs/exact_energy.yaml` as it ships, one thread, trained once by each sampler; then the probability
of every formula is computed by pushing mass through all build orders (`agent.evaluation.exact`), none is sampled.

`uncorrected` leaves log P_B out of the soft return. Its optimum is n(x) R(x) / Z', n(x) being the number of build
orders of x, here counted by dynamic programming over the enumerated graph; under free order that must be k! for k
elements. How far n R / Z' is from R / Z is then what the mistake costs, whatever the training.

`--out` writes the record, and the figure where all three were run; `--runs` keeps the trained runs, and uses those of
the same config that are there.
"""

import argparse
import io
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.records import ROOT, command_line, machine, today, write_record
from oreflow.agent.config.run import Config, load_config
from oreflow.agent.errors import RunFolderError
from oreflow.agent.evaluation.exact import compare_exactly, jensen_shannon, total_variation
from oreflow.agent.policy.network import learned_log_z
from oreflow.agent.storage.atomic_files import write_atomically
from oreflow.agent.storage.checkpoint import load_policy, read_state
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_checked, make_policy, make_scorer, set_threads
from oreflow.agent.training.loop import train
from oreflow.envs.contract.protocol import EnumeratedWorld

CONFIG = Path("runs") / "configs" / "exact_energy.yaml"
_POLICY_GRADIENT = [
    "sampler.kind=policy_gradient",
    "sampler.objective=gae",
    "sampler.epsilon_start=0.0",
    "sampler.learning_rate=0.002",
]
# What each run changes in the config.
CHANGES: dict[str, list[str]] = {
    "trajectory_balance": [],
    "policy_gradient": _POLICY_GRADIENT,
    "uncorrected": [*_POLICY_GRADIENT, "sampler.log_pb_correction=false"],
}

TITLES = {
    "trajectory_balance": "GFlowNet, trajectory balance",
    "policy_gradient": "policy gradient",
    "uncorrected": "policy gradient without log P_B",
}
COLOURS = {1: "#777777", 2: "#0072b2", 3: "#d55e00", 4: "#2ca089"}  # by number of elements
ZOOM = 1e-6  # smallest target probability in the lower row of the figure


@dataclass
class Outcome:
    """One trained sampler against R/Z."""

    learned: np.ndarray
    figures: dict[str, Any]


def config_of(name: str, steps: int | None, seed: int) -> Config:
    """The config of one run."""
    changes = [*CHANGES[name], "run.threads=1"]
    if steps is not None:
        changes.append(f"sampler.steps={steps}")
    return load_config(ROOT / CONFIG, changes, seed)


def trained(config: Config, folder: RunFolder) -> Path:
    """The last checkpoint of a run; trains where the folder holds no finished run of the same config."""
    try:
        checkpoint = folder.latest_checkpoint()
        same = folder.load_config().model_copy(update={"purpose": config.purpose}) == config
        if same and read_state(checkpoint)["step"] == config.sampler.steps:
            return checkpoint
    except RunFolderError:
        pass
    kernel, reward = make_checked(config, str(CONFIG))
    folder.create(config, overwrite=True, plugins=[])
    result = train(config, folder, kernel=kernel, reward=reward, quiet=True)
    if result.stopped_by is not None:
        raise SystemExit(f"stopped by {result.stopped_by}")
    return result.checkpoint


def build_orders(world: EnumeratedWorld) -> np.ndarray:
    """n(x): the number of ways to build each object, float64 [object]."""
    n = np.zeros(len(world.states))
    n[0] = 1.0
    for parent, child in zip(world.parent, world.child):  # ordered by parent, so a parent's count is complete
        n[child] += n[parent]
    return n[world.can_stop]


def coverage(learned: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """What a total variation does not tell: how well the rare is met, and what is as good as missed."""
    close = np.abs(np.log(learned) - np.log(target)) < math.log(1.25)
    missed = learned < target / 10
    return {
        "share_of_probability_within_factor_1.25": float(target[close].sum()),
        "share_of_formulas_within_factor_1.25": float(close.mean()),
        "n_formulas_below_a_tenth": int(missed.sum()),
        "target_probability_below_a_tenth": float(target[missed].sum()),
    }


class Proof:
    """The world, its target, and what leaving log P_B out would make of it."""

    def __init__(self, config: Config) -> None:
        self.kernel, reward = make_checked(config, str(CONFIG))
        self.score = make_scorer(self.kernel, reward)
        world = self.kernel.enumerate()
        self.orders = build_orders(world)
        objects = world.states[world.can_stop]
        objects = self.kernel.step(objects, np.full(len(objects), self.kernel.n_actions - 1))
        self.n_elements = self.kernel.objects(objects).n_elements
        self.log_reward = self.score(objects)
        assert np.isfinite(self.log_reward).all()
        self.log_z = float(np.logaddexp.reduce(self.log_reward))
        self.target = np.exp(self.log_reward - self.log_z)
        self.log_z_counted = float(np.logaddexp.reduce(self.log_reward + np.log(self.orders)))
        self.counted = np.exp(self.log_reward + np.log(self.orders) - self.log_z_counted)

    def world_figures(self) -> dict[str, Any]:
        """What no training changes."""
        factorial = np.array([math.factorial(k) for k in self.n_elements])
        return {
            "n_formulas": len(self.target),
            "n_formulas_by_elements": {int(k): int((self.n_elements == k).sum()) for k in np.unique(self.n_elements)},
            "log_z": self.log_z,
            "build_orders_are_k_factorial": bool(np.array_equal(self.orders, factorial)),
            "total_variation_of_counted_target": total_variation(self.counted, self.target),
            "jensen_shannon_nats_of_counted_target": jensen_shannon(self.counted, self.target),
            "log_z_of_counted_target": self.log_z_counted,
            "share_of_target_by_elements": self._by_elements(self.target),
            "share_of_counted_target_by_elements": self._by_elements(self.counted),
        }

    def _by_elements(self, probability: np.ndarray) -> dict[int, float]:
        """Probability of drawing a formula of k elements, by k."""
        return {int(k): float(probability[self.n_elements == k].sum()) for k in np.unique(self.n_elements)}

    def judge(self, config: Config, folder: RunFolder) -> Outcome:
        """Trains, and computes the probability of every formula."""
        checkpoint = trained(config, folder)
        state = read_state(checkpoint)
        set_threads(config.run.threads)
        policy = make_policy(config, self.kernel)
        load_policy(checkpoint, policy)
        exact = compare_exactly(self.kernel, policy, self.score)
        assert np.allclose(exact.target, self.target, rtol=1e-9, atol=0.0)
        assert abs(exact.learned.sum() - 1.0) < 1e-9
        log_z = learned_log_z(policy, torch.from_numpy(self.kernel.encode(self.kernel.initial(1))))
        figures = {
            "total_variation": exact.total_variation,
            "jensen_shannon_nats": exact.jensen_shannon,
            "log_z_error": log_z - self.log_z,
            "total_variation_from_counted_target": total_variation(exact.learned, self.counted),
            "log_z_error_from_counted_target": log_z - self.log_z_counted,
            "share_of_draws_by_elements": self._by_elements(exact.learned),
            **coverage(exact.learned, self.target),
            "reward_calls": state["metrics"]["n_objects"],
            "steps": config.sampler.steps,
            "seconds": sum(json.loads(line)["seconds"] for line in folder.timings_path.read_text().splitlines()),
        }
        return Outcome(exact.learned, figures)


def draw(proof: Proof, learned: dict[str, np.ndarray], path: Path) -> None:
    """Target against learned probability, one dot a formula: all of them, and below those that matter most."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    everything = np.concatenate([proof.target, *learned.values()])
    high = everything.max() * 2
    whole = (proof.target.min() / 2, everything.min() / 2)
    kinds = np.unique(proof.n_elements)[::-1].tolist()  # the fewest formulas last, on top
    figure, rows = pyplot.subplots(2, 3, figsize=(12, 8.4), sharex="row", sharey="row", layout="constrained")
    for column, (name, probability) in enumerate(learned.items()):
        for panel, (left, bottom), size in zip(rows[:, column], (whole, (ZOOM, ZOOM)), (1.0, 2.0)):
            for k in kinds:
                chosen = proof.n_elements == k
                colour = COLOURS[k] if name == "uncorrected" else "#33435c"
                panel.scatter(proof.target[chosen], probability[chosen], s=size, c=colour, alpha=0.6, linewidths=0)
                if name == "uncorrected":
                    factor = math.factorial(k) * math.exp(proof.log_z - proof.log_z_counted)
                    label = f"{k} elements, {math.factorial(k)} orders: expect {factor:.2f} of R/Z"
                    panel.plot([left, high], [factor * left, factor * high], "--", color=colour, lw=0.9, label=label)
            panel.plot([left, high], [left, high], color="black", linewidth=0.8)
            panel.set(xscale="log", yscale="log", xlim=(left, high), ylim=(bottom, high))
        rows[0, column].set_title(f"{TITLES[name]}\nTV {total_variation(probability, proof.target):.3f}", fontsize=11)
        rows[1, column].set_xlabel("exact target R(x)/Z")
    rows[1, 2].legend(loc="upper left", fontsize=8, frameon=False)
    within = proof.target > ZOOM
    rows[0, 0].set_ylabel(f"P(x) of the trained sampler\nall {len(within)} formulas")
    rows[1, 0].set_ylabel(f"the {within.sum()} formulas that hold {proof.target[within].sum():.1%} of R/Z")
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=90)
        picture = Image.open(buffer).convert("RGB").quantize(64, method=Image.Quantize.MAXCOVERAGE)
    write_atomically(path, lambda temporary: picture.save(temporary, format="png", optimize=True))
    pyplot.close(figure)


def in_words(figures: dict[str, Any]) -> str:
    """The figures of one run in a line."""
    return (
        f"total variation {figures['total_variation']:.4f}, from n R / Z' "
        f"{figures['total_variation_from_counted_target']:.4f}, Jensen-Shannon "
        f"{figures['jensen_shannon_nats']:.2e} nats, log Z error {figures['log_z_error']:+.4f}, "
        f"{figures['reward_calls']} reward calls, {figures['seconds']:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(CHANGES), choices=list(CHANGES))
    parser.add_argument("--steps", type=int, help="in place of the config's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of the record and the figure")
    parser.add_argument("--runs", type=Path, help="folder that keeps the trained runs")
    options = parser.parse_args()
    configs = {name: config_of(name, options.steps, options.seed) for name in options.only}
    base = config_of("trajectory_balance", options.steps, options.seed)
    proof = Proof(base)
    world = proof.world_figures()
    print(
        f"{world['n_formulas']} formulas, log Z {world['log_z']:.4f}; build orders are k!: "
        f"{world['build_orders_are_k_factorial']}; n R / Z' is {world['total_variation_of_counted_target']:.4f} "
        "from R / Z",
        flush=True,
    )
    outcomes = {}
    with tempfile.TemporaryDirectory(prefix="oreflow-bench-") as scratch:
        for name, config in configs.items():
            outcome = outcomes[name] = proof.judge(config, RunFolder((options.runs or Path(scratch)) / name))
            found = outcome.figures
            print(f"{name}: {in_words(found)}", flush=True)
    if options.out is None:
        return
    arguments: list[object] = ["--seed", options.seed]
    if options.steps is not None:
        arguments += ["--steps", options.steps]
    if options.only != list(CHANGES):
        arguments += ["--only", *options.only]
    metrics = {
        "date": today(),
        "machine": machine(threads=1),
        "seconds": sum(outcome.figures["seconds"] for outcome in outcomes.values()),
        "seed": options.seed,
        "config": CONFIG.as_posix(),
        "world": world,
        "runs": {name: {"changes": CHANGES[name]} | outcome.figures for name, outcome in outcomes.items()},
    }
    command = command_line("benchmarks.agent.bench_proof", *arguments, "--out", options.out.as_posix())
    write_record(options.out / "metrics.json", command, metrics, base)
    if list(outcomes) == list(CHANGES):
        draw(proof, {name: outcome.learned for name, outcome in outcomes.items()}, options.out / "proof.png")


if __name__ == "__main__":
    main()
