"""A campaign of several rounds against one round of the same budget: hits, and how the surrogate ranks.

    python -m benchmarks.agent.bench_campaign --run RUN --hull formulas.csv.gz --data structures.csv.gz --out DIR

Method: both choose from the same draws of the same run and relax as many, with one process of one thread: the
campaign's draws of all rounds are those of the one round, and what both pick is relaxed once. One round picks all of
its decorations by the surrogate as it is; the campaign learns after each of its rounds. Rank correlations
(Spearman) are of the energies above the hull that were predicted before a round's decorations were relaxed. Hits are
stable, unique and novel against the data; they are counted at two thresholds, the one that both aim at and 0. Errors
are binomial, one standard deviation. The command goes on where it stopped.
"""

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.campaigns.folder import RoundFolder
from oreflow.agent.campaigns.rounds import Campaign
from oreflow.agent.campaigns.run import check_campaign, run_campaign
from oreflow.agent.config.campaign import CampaignConfig
from oreflow.agent.evaluation.statistics import rank_correlation
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.tables.candidates import candidate_id
from oreflow.agent.tables.formulas import read_table, write_csv


def hits_at(table: pd.DataFrame, threshold: float) -> int:
    """Decorations at most so far above the hull, unique and not known."""
    above = table["energy_above_hull_ev_per_atom"].to_numpy(dtype=np.float64)
    fit = (table["is_unique"].astype(str) == "True") & (table["is_novel"].astype(str) != "False")
    return int((fit & (np.nan_to_num(above, nan=np.inf) <= threshold)).sum())


def give_draws(campaign: Path, one_round: Path, n_rounds: int) -> None:
    """Put what a campaign drew, found and relaxed into the first round of another, which then need not repeat it."""
    folders = [RoundFolder(campaign, number) for number in range(1, n_rounds + 1)]
    first = RoundFolder(one_round, 1)
    if first.is_drawn:
        return
    first.samples.mkdir(parents=True)
    tables = [read_table(folder.samples / "candidates.csv") for folder in folders]
    table = pd.concat(tables, ignore_index=True)
    table["candidate_id"] = [candidate_id(row) for row in range(len(table))]
    write_csv(table, first.samples / "candidates.csv")
    for place, journal in (("realised", "realisations.jsonl"), ("relaxed", "relaxations.jsonl")):
        parts = [(folder.path / place / journal).read_text(encoding="utf-8").splitlines(True) for folder in folders]
        (first.path / place).mkdir()
        lines = [parts[0][0], *(line for part in parts for line in part[1:])]  # the first of each says the settings
        (first.path / place / journal).write_text("".join(lines), encoding="utf-8")
    (first.samples / "summary.json").write_text("{}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--hull", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--relaxations", type=int, default=20)
    parser.add_argument("--threshold", type=float, default=0.08)
    parser.add_argument("--explore", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shared = {
        "schema_version": 1,
        "seed": arguments.seed,
        "run": str(arguments.run),
        "hull": arguments.hull,
        "aligned_by": arguments.data,
        "novelty": arguments.data,
        "threshold": arguments.threshold,
        "explore": arguments.explore,
    }
    n = arguments.rounds
    plans = {
        "campaign": {"rounds": n, "draws": arguments.draws, "relaxations": arguments.relaxations},
        "one_round": {"rounds": 1, "draws": n * arguments.draws, "relaxations": n * arguments.relaxations},
    }
    shared_parts: dict[str, Any] = {}
    for name, plan in plans.items():
        config = CampaignConfig.model_validate(shared | plan)
        check_campaign(config)
        if name == "one_round":
            give_draws(arguments.out / "campaign", arguments.out / name, n)
        began = time.process_time()
        campaign = Campaign(config, arguments.out / name, RunFolder(arguments.run))
        vars(campaign).update(shared_parts)
        result = run_campaign(campaign)
        shared_parts = {key: vars(campaign)[key] for key in ("known", "surrogate") if key in vars(campaign)}
        seconds = time.process_time() - began  # of this process; the workers' come on top
        table = pd.read_csv(arguments.out / name / "campaign.csv")
        calls = result["n_referee_calls"]
        print(
            f"{name}: {result['n_drawn']} drawn, {calls} referee calls, {seconds:.0f} s of CPU outside of the workers"
        )
        for threshold in (arguments.threshold, 0.0):
            hits = hits_at(table, threshold)
            share = hits / calls
            error = math.sqrt(share * (1 - share) / calls)
            print(f"  hits at {threshold:g} eV/atom: {hits}, {share:.1%} ± {error:.1%} of the referee calls")
        for one in result["rounds"]:
            rows = table[table["round"] == one["round"]]
            exploited = rows[rows["picked_because"] == "best"]
            pairs = [
                rank_correlation(part[column].to_numpy(), part["learned_ev_per_atom"].to_numpy())
                for part in (rows, exploited)
                for column in ("predicted_ev_per_atom", "calibrated_ev_per_atom")
            ]
            said = ["none" if value is None else f"{value:.2f}" for value in pairs]
            learned = one["learned_from"]
            print(
                f"  round {one['round']}: {one['n_hits']} hits of {one['n_referee_calls']}; rank correlation of the "
                f"surrogate {said[0]}, calibrated {said[1]}; of the best alone {said[2]}, {said[3]}; of all so far, "
                f"each predicted from the others: {learned.get('rank_correlation_before')}, "
                f"{learned.get('rank_correlation_held_out')}"
            )


if __name__ == "__main__":
    main()
