"""Drawing from a trained run: the candidate set and its summary."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from oreflow.agent.config.run import Config
from oreflow.agent.config.target import TargetConfig
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import log_target
from oreflow.agent.evaluation.log_probabilities import log_prior
from oreflow.agent.learners.families.conditions import choose
from oreflow.agent.learners.families.joint import parts_of
from oreflow.agent.learners.families.kinds import Preference
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.draws import Draws, draw, first_of_their_kind
from oreflow.agent.sampling.row_store import ROWS_PER_CHUNK, RowStore
from oreflow.agent.sampling.summary import dominated_volumes, summarise
from oreflow.agent.sampling.trained_run import TrainedRun, load_run, narrowed, open_prior
from oreflow.agent.storage.atomic_files import sync, to_json
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import check_place, take_over
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.scratch import scratch_folder, writing_to
from oreflow.agent.tables.candidate_structures import N_CIFS, write_structures
from oreflow.agent.tables.candidates import EnergyTerm, candidate_id, candidate_table, energy_model_of
from oreflow.agent.tables.formulas import write_chunks
from oreflow.agent.tables.known_crystals import is_known_object
from oreflow.agent.training.build import (
    make_reward,
)
from oreflow.agent.training.reward_failures import RewardFailures
from oreflow.agent.training.target import log_measure
from oreflow.envs.arrays import Floats, States
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.registry import COMPOSITION, STRUCTURE
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.errors import RewardBudgetError

# How many objects are judged at once. Networks round differently in batches of other sizes: another number here changes
# the last digits of what a seed gives.
_JUDGED_AT_ONCE = 4096
_FILES = ("candidates.csv", "candidates.parquet", "summary.json")
_EXTXYZ, _CIFS = "structures.extxyz", "cif"


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

    Crystals with a geometry are written to structures.extxyz, and the first thousand rows to cif/, too.

    With `unique` rows are distinct and ranked by log R, or with a prior by log P0 R; otherwise they are raw draws in
    order. Draws without a valid reward are left out and counted. Memory stays flat: draws and rows wait in scratch
    files in `out`, and the files come to their places together, at the end.

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
        check_place(out, _names(n, has_geometry), overwrite)
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
            found = _judge(failures, run, reward, draws, reference, rows, out, unique, progress)
        n_invalid = n_objects - len(rows)
        summary = summarise(
            run.config,
            run.kernel,
            rows,
            draws,
            reward,
            _energy_model(run.config, reward),
            n_wanted=n,
            unique=unique,
            seed=seed,
            n_invalid=n_invalid,
            strata=None if run.policy is None else run.policy.strata,
        )
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
        order = np.argsort(-_merit(run, rows), kind="stable") if unique else None
        with Progress("write", len(rows), quiet) as progress:
            _write(rows.chunks(order, rows_per_chunk), summary, out, scratch, progress, has_geometry)
    if n_invalid > run.config.reward.invalid_budget * n_objects:
        raise RewardBudgetError(
            f"{n_invalid} of {n_objects} objects have no valid reward, more than reward.invalid_budget = "
            f"{run.config.reward.invalid_budget:g} allows; for instance {found.reason}. {out} holds the others"
        )
    return summary


@dataclass
class _Findings:
    """What the rows do not say: how many log R were cut at a bound, and why an object has no valid reward."""

    n_bounded: int = 0
    reason: str = ""


def _judge(
    failures: RewardFailures,
    run: TrainedRun,
    reward: Reward,
    draws: Draws,
    reference: Compositions | Crystals | None,
    rows: RowStore,
    out: Path,
    unique: bool,
    progress: Progress,
) -> _Findings:
    """Adds the rows of all draws, or of all distinct objects, that have a valid reward."""
    found = _Findings()
    energy_model, world = _energy_model(run.config, reward), run.config.world.space()
    log_pf = np.full(len(draws.objects), np.nan)  # computed once an object, not once a draw
    n_objects, n_seen = len(draws.objects) if unique else draws.n, 0
    for first in range(0, n_objects, _JUDGED_AT_ONCE):
        last = min(first + _JUDGED_AT_ONCE, n_objects)
        numbers = np.arange(first, last) if unique else draws.numbers.rows(slice(first, last))
        states = draws.objects.rows(numbers)
        is_first = first_of_their_kind(numbers, n_seen)
        if is_first.any():
            known = run.sampler.log_probability(states[is_first])
            if known is not None:
                log_pf[numbers[is_first]] = known
        n_seen += int(is_first.sum())
        objects = run.kernel.objects(states)
        result = reward(objects)
        result = result if run.condition is None else run.condition.rewards(result)
        frame = candidate_table(
            objects,
            result,
            energy_model=energy_model,
            terms=[term for term, _ in reward.terms],
            rule=run.config.world.charge_rule(),
            descriptions=run.kernel.describe(states),
            further={**world.columns(objects), **_further_columns(run, states, result)},
            n_times_sampled=draws.times[numbers],
            is_unique=is_first,
            is_novel=None if reference is None else ~is_known_object(objects, reference),
            log_pf=log_pf[numbers],
        )
        with writing_to(out):
            rows.add(frame[result.valid])
        failures.record(objects, result)
        found.n_bounded += int(result.bounded.sum())
        if not result.valid.all():
            found.reason = found.reason or next(iter(result.reasons().values()))
        progress.update(last)
    return found


def _further_columns(run: TrainedRun, states: States, result: RewardValues) -> dict[str, Any]:
    """What was changed, or what the sampler was trained for where that is not plain R/Z: the column `log_target`."""
    changes = {} if run.narrowing is None else dict(run.narrowing.columns(states))
    run = run.whole or run
    if run.config.target == TargetConfig():
        return changes
    if run.policy is None:
        return ({} if run.prior is None else {"log_prior": log_prior(run.kernel, run.prior, states)}) | changes
    log_reward = result.log_reward - log_measure(run.kernel, states, run.config.target)
    wanted = log_target(run.kernel, run.policy, states, log_reward, run.prior, run.config.target.tau)
    of_prior = {} if run.prior is None else {"log_prior": log_prior(run.kernel, run.prior, states)}
    return {"log_target": wanted} | of_prior | changes


def _merit(run: TrainedRun, rows: RowStore) -> Floats:
    """What distinct rows are ranked by: log R, with a prior log P0 + log R / tau, and draws of a prior by its own law.

    Shares of strata and measures play no part: they say how many rows of a kind come, not which of them is the better.
    """
    log_reward = rows.column("log_reward")
    if run.config.sampler.kind == "prior":  # which is fitted whatever the reward
        merit = rows.column("log_pf")
    elif run.prior is None:
        return log_reward
    else:
        merit = rows.column("log_prior") + log_reward / run.config.target.tau
    return np.where(np.isfinite(merit), merit, -np.inf)


def _energy_model(config: Config, reward: Reward) -> EnergyTerm | None:
    """What predicts formation energies of the world's objects; None where they have none."""
    kind = config.world.space().object_kind
    return energy_model_of(reward, kind == STRUCTURE) if kind in (COMPOSITION, STRUCTURE) else None


def _write(
    chunks: Iterator[pa.Table],
    summary: dict[str, Any],
    out: Path,
    scratch: Path,
    progress: Progress,
    has_geometry: bool,
) -> None:
    """Numbers the rows, and replaces the files in `out` when all of them are complete."""

    def numbered() -> Iterator[pa.Table]:
        n_rows = 0
        for chunk in chunks:
            ids = pa.array([candidate_id(n_rows + i) for i in range(len(chunk))], pa.string())
            n_rows += len(chunk)
            yield chunk.set_column(0, pa.field("candidate_id", pa.string()), ids).replace_schema_metadata(
                chunk.schema.metadata
            )
            progress.update(n_rows)

    csv, parquet, json, extxyz, cifs = (scratch / name for name in (*_FILES, _EXTXYZ, _CIFS))
    with writing_to(out):
        write_chunks(numbered(), csv, parquet)
        json.write_text(to_json(summary), encoding="utf-8")
        files = dict(zip(_FILES, (csv, parquet, json)))
        if has_geometry:
            write_structures(parquet, extxyz, cifs)
            files |= {_EXTXYZ: extxyz} | {f"{_CIFS}/{path.name}": path for path in sorted(cifs.iterdir())}
        for path in (csv, parquet, json):
            sync(path)
        take_over(out, files)


def _names(n: int, has_geometry: bool) -> list[str]:
    """What n candidates may be written to."""
    cifs = [f"{_CIFS}/{candidate_id(i)}.cif" for i in range(min(n, N_CIFS))]
    return [*_FILES, *([_EXTXYZ, *cifs] if has_geometry else [])]
