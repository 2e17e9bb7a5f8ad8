"""Drawing from a trained run: the candidate set, its summary, and uniform random objects of the same world."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from agent.build import make_kernel, make_policy, make_reward, set_threads
from agent.candidates import candidate_table, energy_model_of
from agent.checkpoint import load_policy
from agent.config import Config
from agent.errors import CheckpointError
from agent.exact import log_terminating_probability
from agent.files import to_json, write_text
from agent.policy import Policy
from agent.progress import Progress
from agent.reward_failures import RewardFailures
from agent.rollout import forward_rollout
from agent.run_dir import RunFolder
from agent.seeds import stream
from agent.tables import is_known, write_csv, write_parquet
from envs.composition_kernel import CompositionKernel
from envs.compositions import Compositions
from envs.elements import symbols
from envs.uniform_compositions import TooRareError
from rewards.errors import RewardBudgetError
from rewards.formation_energy import FormationEnergy

_BATCH = 1024
_N_BASELINE = 2000


@dataclass
class TrainedRun:
    """A run ready to sample from."""

    config: Config
    kernel: CompositionKernel
    policy: Policy
    step: int


def load_run(folder: RunFolder) -> TrainedRun:
    """The newest checkpoint of a run.

    Raises:
        RunFolderError, CheckpointError: when there is no run, or its checkpoint is damaged.
    """
    config = folder.load_config()
    set_threads(config.run.threads)
    kernel = make_kernel(config)
    policy = make_policy(config, kernel)
    checkpoint = folder.latest_checkpoint()
    state = load_policy(checkpoint, policy)
    world = config.world.model_dump(mode="json")
    if state.get("config", {}).get("world", world) != world:
        raise CheckpointError(
            f"{checkpoint} was trained in another world than {folder.config_path} describes; train again"
        )
    policy.eval()
    return TrainedRun(config, kernel, policy, int(state["step"]))


def draw(
    run: TrainedRun, n: int, rng: np.random.Generator, unique: bool, max_draws: int, progress: Progress
) -> np.ndarray:
    """Terminal states of successive draws; with `unique`, just as many as it takes to see `n` distinct objects."""
    parts: list[np.ndarray] = []
    seen: set[bytes] = set()
    n_drawn = 0
    while n_drawn < max_draws and (len(seen) if unique else n_drawn) < n:
        wanted = n - len(seen) if unique else n - n_drawn
        size = min(_BATCH, max_draws - n_drawn, max(wanted, 32))
        with torch.no_grad():
            terminal = forward_rollout(run.kernel, run.policy, size, rng).terminal
        if unique:
            for i, row in enumerate(terminal):
                seen.add(row.tobytes())
                if len(seen) == n:
                    terminal = terminal[: i + 1]
                    break
        else:
            terminal = terminal[:wanted]
        parts.append(terminal)
        n_drawn += len(terminal)
        progress.update(min(len(seen) if unique else n_drawn, n), draws=n_drawn)
    return np.concatenate(parts)


def sample(
    folder: RunFolder,
    n: int,
    *,
    out: Path,
    seed: int | None = None,
    unique: bool = False,
    max_draws: int | None = None,
    reference: Compositions | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Writes candidates.csv, candidates.parquet and summary.json, and returns the summary.

    With `unique` rows are distinct and ranked by log R; otherwise they are the raw draws in order. Draws without a
    valid reward are left out and counted.

    Raises:
        RewardBudgetError: when their share exceeds `reward.invalid_budget`; the files hold the others.
    """
    run = load_run(folder)
    reward = make_reward(run.config)
    seed = run.config.seed if seed is None else seed
    max_draws = max_draws or 100 * n
    with Progress("sample", n, quiet) as progress:
        states = draw(run, n, stream(seed, "sampling"), unique, max_draws, progress)
    n_draws = len(states)
    _, first, inverse, counts = np.unique(states, axis=0, return_index=True, return_inverse=True, return_counts=True)
    times = counts[inverse.reshape(-1)]
    is_first = np.zeros(n_draws, dtype=np.bool_)
    is_first[first] = True
    if unique:
        states, times, is_first = states[is_first], times[is_first], is_first[is_first]

    objects = run.kernel.objects(states)
    result = reward(objects)
    log_pf = log_terminating_probability(run.kernel, run.policy, states)
    energy_model = energy_model_of(reward)
    frame = candidate_table(
        objects,
        result,
        energy_model=energy_model,
        terms=[term for term, _ in reward.terms],
        table=run.config.world.oxidation_table,
        mixed_valence=run.config.world.mixed_valence,
        n_times_sampled=times,
        is_unique=is_first,
        is_novel=None if reference is None else ~is_known(objects, reference),
        log_pf=log_pf,
    )
    frame = frame[result.valid]
    if unique:
        frame = frame.sort_values("log_reward", ascending=False, kind="stable")
    frame = frame.reset_index(drop=True)
    frame["candidate_id"] = [f"c{i + 1:07d}" for i in range(len(frame))]

    out.mkdir(parents=True, exist_ok=True)
    write_csv(frame, out / "candidates.csv")
    write_parquet(frame, out / "candidates.parquet")
    n_invalid = int((~result.valid).sum())
    RewardFailures(folder.reward_failures_path).record(objects, result)
    summary = _summary(run, energy_model, frame, n, n_draws, unique, seed, n_invalid)
    summary["reward"] = reward.describe()
    summary["n_log_reward_bounded"] = int(result.bounded.sum())
    summary["nondeterministic_rewards"] = reward.nondeterministic
    write_text(out / "summary.json", to_json(summary))
    if n_invalid > run.config.reward.invalid_budget * len(objects):
        raise RewardBudgetError(
            f"{n_invalid} of {len(objects)} objects have no valid reward, more than reward.invalid_budget = "
            f"{run.config.reward.invalid_budget:g} allows; for instance {next(iter(result.reasons().values()))}. "
            f"{out} holds the others"
        )
    return summary


def _summary(
    run: TrainedRun,
    energy_model: FormationEnergy,
    frame: pd.DataFrame,
    n: int,
    n_draws: int,
    unique: bool,
    seed: int,
    n_invalid: int,
) -> dict[str, Any]:
    world = run.config.world
    rng = stream(seed, "baseline")
    uniform_energies = _uniform_energies(run.kernel, energy_model, rng)
    present = {symbol for system in frame["chemsys"] for symbol in system.split("-")}
    sampled = frame["formation_energy_per_atom_pred"].dropna().to_numpy()
    reached = int(frame["is_unique"].sum()) if unique else len(frame)
    return {
        "n_rows": len(frame),
        "n_wanted": n,
        "complete": reached >= n,
        "n_draws": n_draws,
        "n_unique": int(frame["is_unique"].sum()),
        "n_rejected_invalid_reward": n_invalid,
        "rows": "distinct, ranked by log_reward" if unique else "raw draws, in order",
        "share_neutral": _share(frame["charge_neutral"]),
        "neutrality_rule": f"{world.space().oxidation_table}, {'mixed' if world.mixed_valence else 'no mixed'} valence",
        "share_electronegativity_ok": _share(frame["electronegativity_ok"]),
        "n_elements_present": len(present),
        "elements_absent": [s for s in symbols() if s in world.space().elements and s not in present],
        "n_chemical_systems": int(frame["chemsys"].nunique()),
        "median_formation_energy_ev_per_atom": _median(sampled, rng),
        "uniform_random_median_formation_energy_ev_per_atom": _median(uniform_energies, rng),
        "n_uniform_random": len(uniform_energies),
        "energy_model": energy_model.version,
        "median_formation_energy_std_ev_per_atom": _finite_median(frame["formation_energy_std"]),
        "share_far_from_training_data": _share(frame["formation_energy_extrapolates"]),
        "log_reward_minus_log_pf_std": float((frame["log_reward"] - frame["log_pf"]).std()) if len(frame) > 1 else None,
        "step": run.step,
        "seed": seed,
    }


def _uniform_energies(kernel: CompositionKernel, model: FormationEnergy, rng: np.random.Generator) -> np.ndarray:
    """Predicted formation energies of uniform random objects, eV/atom; empty where objects are too rare to draw."""
    try:
        uniform = kernel.objects(kernel.sample_uniform(_N_BASELINE, rng))
    except TooRareError:
        return np.empty(0)
    energy = model(uniform)
    return energy.values[energy.valid]


def _share(flags: pd.Series) -> float | None:
    """Share of true flags, missing ones counted as false; None for an empty table."""
    return float(flags.fillna(False).mean()) if len(flags) else None


def _finite_median(column: pd.Series) -> float | None:
    return float(column.median()) if column.notna().any() else None


def _median(values: np.ndarray, rng: np.random.Generator) -> dict[str, float] | None:
    """Median with its bootstrap standard error (200 resamples)."""
    if not len(values):
        return None
    resampled = np.median(rng.choice(values, size=(200, len(values))), axis=1)
    return {"value": float(np.median(values)), "standard_error": float(resampled.std())}
