"""Memory of a long training, or memory and speed of `oreflow sample`: resident memory at each tenth, and growth.

    python -m benchmarks.agent.bench_memory [-n 1000000] [--unique] [--steps 200] [--config CONFIG.yaml]
    python -m benchmarks.agent.bench_memory --training 100000

The second form trains so many steps in the world of tiny_exact.yaml, with small batches, a replay buffer and a
checkpoint every 1 000 steps.

Trains a short run in a scratch folder, then samples from it in this process. "Anonymous" is the memory that the process
alone owns; "resident" counts pages of the scratch files too while they are mapped, which the system takes back at need.
Growth is given over each pass from its second tenth on, when what the pass needs is compiled and loaded, and from the
second tenth of the first pass to the end.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import oreflow.agent.sampling.sample
import oreflow.agent.training.loop
from oreflow.agent.config.run import load_config
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_checked
from oreflow.agent.training.loop import train

ROOT = Path(__file__).parents[2]


def memory_mib() -> tuple[float, float]:
    """Resident and anonymous memory of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))  # type: ignore[return-value]


class Watch(Progress):
    """Prints memory each time another tenth of a pass is done."""

    by_pass: ClassVar[dict[str, list[tuple[float, float]]]] = {}

    def update(self, done: int, **figures: float) -> None:
        reached = int(10 * done / max(self.total, 1))
        if reached <= getattr(self, "reached", 0):
            return
        self.reached = reached
        resident, anonymous = memory_mib()
        if reached >= 2:
            self.by_pass.setdefault(self.label, []).append((resident, anonymous))
        seconds = time.monotonic() - self._started
        print(
            f"{self.label:5s} {reached:2d}/10  resident {resident:6.0f} MiB, anonymous {anonymous:6.0f} MiB, "
            f"{done / seconds:8.0f} rows/s",
            flush=True,
        )


def watch_training(steps: int) -> None:
    """Trains, and prints memory each time another tenth of the steps is done."""
    keys = [f"sampler.steps={steps}", "sampler.batch=8", "sampler.hidden=[16]", "sampler.replay={share: 0.25}"]
    keys += ["run.threads=1", "run.checkpoint_every_steps=1000", "run.log_every_steps=100"]
    oreflow.agent.training.loop.Progress = Watch  # type: ignore[misc, attr-defined]
    path = ROOT / "runs" / "configs" / "tiny_exact.yaml"
    with tempfile.TemporaryDirectory(prefix="oreflow-bench-") as scratch:
        config = load_config(path, keys)
        folder = RunFolder(Path(scratch) / "run")
        folder.create(config, overwrite=False, plugins=[])
        train(config, folder)
    found = Watch.by_pass["train"]
    first, last = found[0], found[-1]
    print(f"growth, second tenth to the end: {last[0] - first[0]:+.1f} MiB, anonymous {last[1] - first[1]:+.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=1_000_000)
    parser.add_argument("--unique", action="store_true")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--config", type=Path, default=ROOT / "runs" / "configs" / "quickstart.yaml")
    parser.add_argument("--training", type=int, help="steps of a training to watch instead")
    options = parser.parse_args()
    if options.training:
        watch_training(options.training)
        return
    oreflow.agent.sampling.sample.Progress = Watch  # type: ignore[misc, attr-defined]
    with tempfile.TemporaryDirectory(prefix="oreflow-bench-") as scratch:
        config = load_config(options.config, [f"sampler.steps={options.steps}"])
        kernel, reward = make_checked(config, str(options.config))
        folder = RunFolder(Path(scratch) / "run")
        folder.create(config, overwrite=False, plugins=[])
        train(config, folder, kernel=kernel, reward=reward, quiet=True)
        started = time.monotonic()
        summary = oreflow.agent.sampling.sample.sample(folder, options.n, out=folder.samples, unique=options.unique)
        seconds = time.monotonic() - started
        size = sum(path.stat().st_size for path in folder.samples.iterdir()) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{summary['n_rows']} rows, {summary['n_unique']} distinct, {size:.0f} MiB of files, in {seconds:.0f} s: "
        f"{summary['n_rows'] / seconds:.0f} rows/s; peak {peak:.0f} MiB"
    )
    spans = {f"pass {label}": (found[0], found[-1]) for label, found in Watch.by_pass.items()}
    spans["second tenth to the end"] = Watch.by_pass["draw"][0], memory_mib()
    for label, (first, last) in spans.items():
        print(f"growth, {label}: resident {last[0] - first[0]:+.0f} MiB, anonymous {last[1] - first[1]:+.0f} MiB")


if __name__ == "__main__":
    main()
