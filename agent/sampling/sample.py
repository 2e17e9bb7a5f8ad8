"""Drawing from a trained run: the candidate set and its summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.satisfaction import reading_verdict
from oreflow.agent.learners.families.conditions import choose
from oreflow.agent.learners.families.joint import parts_of
from oreflow.agent.learners.families.kinds import Preference
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.draws import draw
from oreflow.agent.sampling.rows.files import file_names, write_candidates
from oreflow.agent.sampling.rows.judging import judge, predictor
from oreflow.agent.sampling.rows.order import decimals_of, order_of
from oreflow.agent.sampling.rows.store import ROWS_PER_CHUNK, RowStore
from oreflow.agent.sampling.summary import dominated_volumes, summarise
from oreflow.agent.sampling.trained_run import load_run, narrowed, open_prior
from oreflow.agent.sampling.wishes import novelty
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import check_place
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.scratch import scratch_folder, writing_to
from oreflow.agent.training.build import make_reward
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.registry import COMPOSITION, STRUCTURE
from oreflow.rewards.errors import RewardBudgetError


def sample(
    source: RunFolder | str,
    n: int,
    *,
    out: Path,
    seed: int | None = None,
    unique: bool = False,
    max_draws: int | None = None,
    reference: Compositions | Crystals | None = None,
    quiet: bool = False,
    overwrite: bool = False,
    rows_per_chunk: int = ROWS_PER_CHUNK,
    beta: float | None = None,
    weights: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
    start: str | None = None,
    near: str | None = None,
    changes: int = 1,
) -> dict[str, Any]:
    """Writes candidates.csv, candidates.parquet and summary.json, and returns the summary.

    The CSV has the columns that people read (`agent.tables.people`), the Parquet file the same rows with all of them.
    Crystals with a geometry are written to structures.extxyz, and the first thousand rows to cif/, too.

    With `unique` rows are distinct and ranked by log R, or with a prior by log P0 R; the first page of them is spread
    over chemistries (`agent.tables.ranking`). Otherwise they are raw draws in order. Draws without a valid reward are
    left out and counted. Memory stays flat: draws and rows wait in scratch files in `out`, and the files come to their
    places together, at the end.

    Args:
        source: a run, or the name of a shipped prior.
        overwrite: whether they may replace those of an earlier call. Files that oreflow did not write stay in any case.
        rows_per_chunk: rows in memory while the files are written; of no influence on what they hold.
        beta, weights, target: the condition to sample under, as `agent.learners.families.conditions.choose` takes
            them. `log_reward`, `log_pf` and the log-score of a term whose value is asked for are those under the
            condition; other log-scores stay those of the config.
        start: a partial object that all rows complete, as `oreflow.envs.objects.partial` reads it.
        near: an object from which all rows differ by one change at least and `changes` at most.

    Raises:
        ConditionError: when the run was not trained for the condition.
        StartError: when no object of the world keeps to `start` or `near`.
        RewardBudgetError: when the share without a reward exceeds `reward.invalid_budget`; the files hold the others.
        RunFolderError: when another process writes to `out`.
        PlaceError: when `out` holds files of these names that are not to be replaced.
        OutputError: when `out` cannot be written; files that were there before stay as they were.
    """
    if isinstance(source, str):
        run, failures = open_prior(source), RewardFailures(out / "reward_failures.jsonl")
        choose(run.config, beta, weights, target)  # which refuses all of them: a prior is of no family
    else:
        run, failures = (
            load_run(source, beta=beta, weights=weights, target=target),
            RewardFailures(source.reward_failures_path),
        )
    run = narrowed(run, start, near, changes)
    reward = make_reward(run.config)
    world = run.config.world.space()
    if reference is not None and world.object_kind not in (COMPOSITION, STRUCTURE):
        raise ConfigError(
            f"known compounds say nothing of the objects of world.kind {run.config.world.kind}; leave the reference out"
        )
    seed = run.config.seed if seed is None else seed
    max_draws = max_draws or 100 * n
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    has_geometry = world.object_kind == STRUCTURE and world.has_geometry
    with RunLock(out), scratch_folder(out) as scratch:
        check_place(out, file_names(n, has_geometry), overwrite)
        with Progress("draw", n, quiet) as progress:
            rng = stream(seed, "sampling")
            draws = draw(
                run.kernel,
                run.sampler,
                n,
                rng,
                unique=unique,
                max_draws=max_draws,
                scratch=scratch,
                progress=progress,
                count=None if run.narrowing is None else run.narrowing.n_objects,
            )
        n_objects = len(draws.objects) if unique else draws.n
        rows = RowStore(scratch / "rows")
        with Progress("judge", n_objects, quiet) as progress:
            found = judge(failures, run, reward, draws, reference, rows, out, unique, progress)
        n_invalid = n_objects - len(rows)
        summary = summarise(
            run.config,
            run.kernel,
            rows,
            draws,
            reward,
            predictor(run.config, reward),
            n_wanted=n,
            unique=unique,
            seed=seed,
            n_invalid=n_invalid,
            strata=run.strata,
        )
        if reference is not None:
            summary |= novelty(rows, len(reference))
        summary |= {
            "step": run.step,
            "seed": seed,
            "reward": reward.describe(),
            "n_log_reward_bounded": found.n_bounded,
            "nondeterministic_rewards": reward.nondeterministic,
        }
        if run.narrowing is not None:  # what draws is no sampler of R/Z or any other target
            summary |= run.narrowing.note | {"log_reward_minus_log_pf_std": None}
            if "median_std_within_space_groups" in summary:
                summary["median_std_within_space_groups"] = None
        if run.condition is not None:
            summary["condition"] = run.condition.describe(reward)
            if any(isinstance(part, Preference) for part in parts_of(run.condition.family)):
                summary["hypervolume"] = dominated_volumes(run.kernel, reward, rows, seed)
        if "wishes" in summary:
            summary["worth_reading"] = reading_verdict(
                len(rows),
                {wish["term"]: wish["share"] for wish in summary["wishes"]},
                summary["share_meeting_all"],
                summary["log_reward_minus_log_pf_std"],
            )
        decimals = decimals_of(rows)
        order = order_of(run, rows, decimals) if unique else None
        summary |= {"log_reward_decimals": decimals, "first_page": None if order is None else order.first_page}
        with Progress("write", len(rows), quiet) as progress:
            write_candidates(
                rows.chunks(None if order is None else order.rows, rows_per_chunk),
                summary,
                out,
                scratch,
                progress,
                ranks=None if order is None else order.ranks,
                log_reward_decimals=decimals,
                has_novelty=reference is not None,
                has_geometry=has_geometry,
            )
    if n_invalid > run.config.reward.invalid_budget * n_objects:
        raise RewardBudgetError(
            f"{n_invalid} of {n_objects} objects have no valid reward, more than reward.invalid_budget = "
            f"{run.config.reward.invalid_budget:g} allows; for instance {found.reason}. {out} holds the others"
        )
    return summary
