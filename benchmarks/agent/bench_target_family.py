"""Whether one policy gives what is asked for at every value: what candidates of a family of targets have.

    python -m benchmarks.agent.bench_target_family [RUN] [--values -2.5 -2 -1.5 -1 -0.5] [-n 1000] [--json]

Protocol: `runs/configs/any_energy.yaml` is trained, or a run of yours is taken, and n raw draws (not the distinct or
best ones) are taken at each value. Printed are mean, standard deviation and number of the values that their
term gives them, how many are within one width of what was asked, the share that is charge-neutral by the world's
table, log R - log P over the draws, and the four likeliest formulas.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

import oreflow
from benchmarks.records import ROOT

CONFIG = Path("runs") / "configs" / "any_energy.yaml"


def figures(run: Path, term: str, width: float, value: float, n: int) -> dict[str, Any]:
    """What n raw draws at one value are like."""
    rows = oreflow.sample(run, n, target={term: value}, seed=0)
    names = rows.columns.tolist()
    own = pd.to_numeric(rows[names[names.index(f"{term}_valid") - 1]])
    summary = rows.attrs["summary"]
    common = rows.drop_duplicates("formula_pretty").nlargest(4, "log_pf")["formula_pretty"]
    return {
        "target": value,
        "mean": float(own.mean()),
        "std": float(own.std()),
        "n": len(own),
        "n_distinct": int(rows["formula_pretty"].nunique()),
        "share_within_width": float(((own - value).abs() <= width).mean()),
        "share_neutral": summary.get("share_neutral"),
        "std_of_log_reward_minus_log_p": summary["log_reward_minus_log_pf_std"],
        "likeliest": common.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "run", type=Path, nargs="?", help=f"a run of a family of targets; trained from {CONFIG} if left out"
    )
    parser.add_argument("--values", type=float, nargs="+", default=[-2.5, -2.0, -1.5, -1.0, -0.5])
    parser.add_argument("-n", type=int, default=1000, help="draws at each value")
    parser.add_argument("--json", action="store_true", help="print plain data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oreflow-bench-") as scratch:
        started, run = time.monotonic(), options.run
        if run is None:
            run = oreflow.train(ROOT / CONFIG, Path(scratch) / "run").path
        seconds = time.monotonic() - started
        config = oreflow.Run(run).config
        term = config.sampler.family.term
        if term is None:
            raise SystemExit(
                f"{run}: expected a run of sampler.family target, got kind {config.sampler.family.in_words}"
            )
        width = config.target_shape()["width"]
        rows = [figures(run, term, width, value, options.n) for value in options.values]
    if options.json:
        print(json.dumps({"train_seconds": seconds, "values": rows}, indent=2))
        return
    print(f"{term}, width {width:g}; trained in {seconds:.0f} s" if options.run is None else f"{term}, width {width:g}")
    print("  target     mean     std      n distinct  within  neutral   nats  likeliest")
    for row in rows:
        neutral = "" if row["share_neutral"] is None else f"{row['share_neutral']:.1%}"
        print(
            f"{row['target']:8.3f} {row['mean']:8.3f} {row['std']:7.3f} {row['n']:6d} {row['n_distinct']:8d} "
            f"{row['share_within_width']:7.1%} {neutral:>8} {row['std_of_log_reward_minus_log_p']:6.2f}  "
            + ", ".join(row["likeliest"])
        )


if __name__ == "__main__":
    main()
