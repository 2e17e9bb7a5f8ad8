"""One round: draw, screen, pick, realise, relax, judge; each step only where its files are not there yet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.campaigns.calibration import Calibration, Uncalibrated
from oreflow.agent.campaigns.folder import TABLE_FILE, RoundFolder, read_outcome
from oreflow.agent.campaigns.outcome import judge_rounds, outcome_of
from oreflow.agent.campaigns.picking import EXPLORED, pick, probability_below
from oreflow.agent.campaigns.pool import Pool, read_pool
from oreflow.agent.campaigns.surrogate import Surrogate
from oreflow.agent.config.campaign import CampaignConfig
from oreflow.agent.evaluation.statistics import rank_correlation
from oreflow.agent.judging.inputs import RELAXED_TABLE
from oreflow.agent.judging.known_structures import KnownStructures
from oreflow.agent.realisation.geometries import Settings
from oreflow.agent.realisation.ranking import default_rank
from oreflow.agent.realisation.run import TABLE_FILE as REALISED_TABLE
from oreflow.agent.realisation.run import realise_to_folder
from oreflow.agent.relaxation.run import relax_to_folder
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.sample import sample
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.tables.formulas import read_table, write_csv
from oreflow.rewards.executors.protocol import Make
from oreflow.rewards.executors.settings import ExecutorSettings
from oreflow.rewards.potential.listing import listed


class Interrupted(Exception):
    """A signal came; what was finished is kept."""


@dataclass(frozen=True)
class Campaign:
    """What all rounds share.

    Attributes:
        config: of the campaign.
        out: its folder, which nobody else writes to.
        source: the run that is drawn from.
        workers: processes that realise and relax.
        plugins: files that bring potentials.
        quiet: whether no progress is shown.
        make: instead of the potential, what builds the relaxing function in each worker.
        executor: where decorations are realised and relaxed; by default in processes of this machine.
    """

    config: CampaignConfig
    out: Path
    source: RunFolder
    workers: int = 1
    plugins: tuple[Path, ...] = ()
    quiet: bool = True
    make: Make | None = None
    executor: ExecutorSettings | None = None

    @cached_property
    def surrogate(self) -> Surrogate:
        """What screens."""
        config = self.config
        return Surrogate(config.hull, config.aligned_by, config.max_residual, config.model)

    @cached_property
    def known(self) -> KnownStructures | None:
        """What nothing is novel that is like it."""
        return None if self.config.novelty is None else KnownStructures(Path(self.config.novelty), self.quiet)

    @cached_property
    def _known_decorations(self) -> set[str]:
        return set() if self.known is None else self.known.protostructures

    def folder(self, number: int) -> RoundFolder:
        """Where a round keeps its files."""
        return RoundFolder(self.out, number)

    def pool(self, number: int) -> Pool:
        """All that was drawn up to a round."""
        tables = [self.folder(k).samples / "candidates.csv" for k in range(1, number + 1)]
        return read_pool(tables, self.surrogate, listed(self.config.potential).card.elements, self._known_decorations)


def play(campaign: Campaign, earlier: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Play the round after the earlier ones, or what is left of it; return its figures.

    Raises:
        Interrupted: when a signal came first; the same call goes on.
    """
    number, started = len(earlier) + 1, time.monotonic()
    config, folder = campaign.config, campaign.folder(number)
    seed = int(stream(config.seed, "sampling", number).integers(2**31))
    if not folder.is_drawn:
        sample(campaign.source, config.draws, out=folder.samples, seed=seed, quiet=campaign.quiet, overwrite=True)
    pool = campaign.pool(number)
    past = [read_outcome(campaign.folder(k).outcome) for k in range(1, number)]
    if not folder.picks.is_file():
        write_csv(_picked(campaign, pool, past, earlier), folder.picks)
    picks = read_outcome(folder.picks)
    n_relaxed = _relax(campaign, folder, len(picks))
    verdicts = judge_rounds(
        [campaign.folder(k) for k in range(1, number + 1)], config.threshold, campaign.surrogate.hull, campaign.known
    )
    outcome = outcome_of(picks, folder, verdicts, config.failed_ev_per_atom)
    table = pd.concat([*past, outcome], ignore_index=True) if len(outcome) or past else outcome
    for column in ("is_stable", "is_unique", "duplicate_of", "is_hit"):  # a later one may be the lower of two alike
        said = dict(zip(verdicts["decoration_id"], verdicts[column]))
        table[column] = [said.get(name, "" if column == "duplicate_of" else False) for name in table["candidate_id"]]
    write_csv(table, campaign.out / TABLE_FILE)
    figures = {
        "round": number,
        "seed": seed,
        "n_drawn": pool.n_drawn[-1],
        "n_pool": len(pool.frame),
        "n_left_out": pool.left_out,
        "n_picked": len(picks),
        "n_explored": int((picks["picked_because"] == EXPLORED).sum()) if len(picks) else 0,
        "n_referee_calls": n_relaxed,
        **_counts(outcome),
        "n_hits_so_far": int(table["is_hit"].sum()) if len(table) else 0,
        "learned_from": _learned(campaign, pool, [*past, outcome]).figures(),
        "seconds": round(time.monotonic() - started, 1),
    }
    figures["n_hits"] = figures["n_hits_so_far"] - (earlier[-1]["n_hits_so_far"] if earlier else 0)
    folder.finish(outcome, figures)
    return figures


def _learned(campaign: Campaign, pool: Pool, past: Sequence[pd.DataFrame]) -> Calibration | Uncalibrated:
    """The surrogate after the rounds that are over."""
    known = pd.concat(past, ignore_index=True) if past else pd.DataFrame()
    if campaign.config.calibration == "none" or not len(known):
        return Uncalibrated()
    places = np.array(pool.places(known["decoration"].tolist()), dtype=np.int64)
    return Calibration(pool.inputs.rows(places), known["learned_ev_per_atom"].to_numpy(dtype=np.float64))


def _picked(
    campaign: Campaign, pool: Pool, past: Sequence[pd.DataFrame], earlier: Sequence[dict[str, Any]]
) -> pd.DataFrame:
    """The table of picks of the next round. It never holds more than the budget can relax."""
    config, number = campaign.config, len(earlier) + 1
    left = number * config.relaxations - sum(figures["n_referee_calls"] for figures in earlier)
    known = pd.concat(past, ignore_index=True) if past else pd.DataFrame({"decoration": [], "formula_reduced": []})
    estimate = _learned(campaign, pool, past).predict(pool.inputs)
    fresh = ~pool.frame["decoration"].isin(known["decoration"]).to_numpy(dtype=np.bool_)
    picks = pick(
        estimate,
        pool.may_be_picked & fresh,
        pool.frame["formula_reduced"].tolist(),
        set(known["formula_reduced"]),
        left // config.geometries,
        threshold=config.threshold,
        explore=config.explore if number < config.rounds else 0.0,  # nobody learns from the last round
        rng=stream(config.seed, "picking", number),
    )
    rows = np.array([one.row for one in picks], dtype=np.int64)
    frame = pool.frame.iloc[rows].reset_index(drop=True)
    structures = frame.pop("structure")
    frame.insert(0, "round", number)
    frame["calibrated_ev_per_atom"] = estimate.mean[rows]
    frame["calibrated_std_ev_per_atom"] = estimate.std[rows]
    frame["p_stable"] = probability_below(config.threshold, estimate)[rows]
    frame["picked_because"] = [one.because for one in picks]
    return frame.assign(structure=structures)


def _relax(campaign: Campaign, folder: RoundFolder, n_picks: int) -> int:
    """Realise and relax the picks; return the number of referee calls.

    Raises:
        Interrupted: when a signal came first.
    """
    config = campaign.config
    if not n_picks:
        return 0
    settings = Settings(config.geometries, rank=config.rank or default_rank(), seed=config.seed)
    realised = realise_to_folder(
        folder.picks,
        folder.realised,
        settings,
        workers=campaign.workers,
        executor=campaign.executor,
        quiet=campaign.quiet,
    )
    if realised["interrupted"]:
        raise Interrupted
    if not realised["n_geometries"]:
        return 0
    relaxed = relax_to_folder(
        [folder.realised / REALISED_TABLE],
        folder.relaxed,
        steps=config.steps,
        workers=campaign.workers,
        executor=campaign.executor,
        potential=config.potential,
        track=config.track,
        plugins=campaign.plugins,
        quiet=campaign.quiet,
        make=campaign.make,
    )
    if relaxed["interrupted"]:
        raise Interrupted
    return len(read_table(folder.relaxed / RELAXED_TABLE))


def _counts(outcome: pd.DataFrame) -> dict[str, Any]:
    """What became of a round's picks, and how well they had been predicted before anything was learned from them."""
    if not len(outcome):
        return {"n_by_status": {}, "n_stable": 0, "n_rank_correlation": 0, "rank_correlation": None} | {
            "rank_correlation_calibrated": None
        }
    referee = outcome["learned_ev_per_atom"].to_numpy(dtype=np.float64)
    return {
        "n_by_status": {str(k): int(n) for k, n in sorted(outcome["status"].value_counts().items())},
        "n_stable": int(outcome["is_stable"].sum()),
        "n_rank_correlation": len(outcome),
        "rank_correlation": rank_correlation(outcome["predicted_ev_per_atom"].to_numpy(np.float64), referee),
        "rank_correlation_calibrated": rank_correlation(
            outcome["calibrated_ev_per_atom"].to_numpy(np.float64), referee
        ),
    }
