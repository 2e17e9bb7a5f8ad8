"""What a candidate set is like, in numbers, computed from its rows on disk."""

from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.config.run import Config
from oreflow.agent.evaluation.hypervolume import MAX_AXES, hypervolume
from oreflow.agent.evaluation.mixtures import are_mixtures
from oreflow.agent.evaluation.random_objects import random_objects
from oreflow.agent.policy.strata import Strata
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.draws import Draws
from oreflow.agent.sampling.rows.store import RowStore
from oreflow.agent.sampling.wishes import wishes
from oreflow.agent.tables.candidates import EnergyTerm
from oreflow.agent.training.target_words import target_in_words
from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.chemistry.oxidation import resolve_table
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.registry import STRUCTURE
from oreflow.rewards import Reward
from oreflow.rewards.reference.hull_holes import LOWEST_TRUSTED

_N_BASELINE = 2000
_N_RESAMPLES = 200
_NEAR_HULL = 0.05  # eV/atom
_N_SUMMARISED = 4096  # objects that a world of its own sums up


def summarise(
    config: Config,
    kernel: TransitionKernel,
    rows: RowStore,
    draws: Draws,
    reward: Reward,
    energy_model: EnergyTerm | None,
    *,
    n_wanted: int,
    unique: bool,
    seed: int,
    n_invalid: int,
    strata: Strata | None,
) -> dict[str, Any]:
    """The figures that summary.json holds of the rows.

    Args:
        energy_model: predicted the rows' formation energies, and predicts those of random objects; None where objects
            have none.
        n_invalid: objects that were left out of the rows.
        strata: what has prescribed shares; None where nothing has.
    """
    world, rule = config.world.space(), config.world.charge_rule()
    rng = stream(seed, "baseline")
    n_unique = rows.n_true("is_unique")
    summary: dict[str, Any] = {
        "n_rows": len(rows),
        "n_wanted": n_wanted,
        "complete": (n_unique if unique else len(rows)) >= n_wanted,
        "n_draws": draws.n,
        "n_unique": n_unique,
        "world_exhausted": draws.exhausted,
        "n_rejected_invalid_reward": n_invalid,
        "rows": f"distinct, ranked by {_ranked_by(config)}" if unique else "raw draws, in order",
        "target": target_in_words(config, strata),
    }
    if strata is not None:
        summary["shares"] = dict(zip(strata.names, np.exp(strata.log_share).tolist()))
    if rule is not None:
        table = resolve_table(rule.table)
        summary["share_neutral"] = _share(rows, "charge_neutral")
        summary["neutrality_rule"] = f"{table}, {'mixed' if rule.mixed_valence else 'no mixed'} valence"
        summary["share_electronegativity_ok"] = _share(rows, "electronegativity_ok")
    if energy_model is not None:
        summary |= _elements_and_energies(world.symbols(), kernel, rows, energy_model, rng)
    summary |= _hull_holes(rows)
    if config.sampler.kind != "prior":
        summary |= wishes(config, reward, rows)
    wanted = "log_target" if "log_target" in rows.schema.names else "log_reward"
    of_reward = config.sampler.kind != "prior"  # which is not fitted to R
    summary["log_reward_minus_log_pf_std"] = _spread(rows.column(wanted) - rows.column("log_pf")) if of_reward else None
    if world.object_kind == STRUCTURE:
        summary |= _space_groups(rows, wanted)
    elif config.target.prescribes_numbers:
        numbers = np.unique(rows.column("nelements"), return_counts=True)
        summary["shares_of_rows"] = {str(int(k)): n / len(rows) for k, n in zip(*numbers)}
    of_world = world.summary(kernel.objects(draws.objects.rows(slice(0, _N_SUMMARISED))))
    return summary | ({"world": dict(of_world)} if of_world else {})


def _ranked_by(config: Config) -> str:
    if config.sampler.kind == "prior":
        return "log_pf"
    return "log_reward" if config.target.prior is None else "log_prior + log_reward / tau"


def _elements_and_energies(
    elements: tuple[str, ...], kernel: TransitionKernel, rows: RowStore, model: EnergyTerm, rng: np.random.Generator
) -> dict[str, Any]:
    """What the summary says of objects that have a formula."""
    random_energies, origin = _random_energies(kernel, model, rng)
    sampled = rows.column("formation_energy_per_atom_pred")
    n_systems, present = _chemical_systems(rows)
    return {
        "n_elements_present": len(present),
        "elements_absent": [s for s in symbols() if s in elements and s not in present],
        "n_chemical_systems": n_systems,
        "median_formation_energy_ev_per_atom": _median(sampled[~np.isnan(sampled)], rng),
        "random_median_formation_energy_ev_per_atom": _median(random_energies, rng),
        "random_objects": origin,
        "n_random": len(random_energies),
        "energy_model": model.version,
        "median_formation_energy_std_ev_per_atom": _finite_median(rows.column("formation_energy_std")),
        "share_far_from_training_data": _share(rows, "formation_energy_extrapolates"),
    }


def _hull_holes(rows: RowStore) -> dict[str, Any]:
    """How close to the hull the rows are, and how many owe that to what the list of known phases lacks."""
    if "hull_hole" not in rows.schema.names or not len(rows):
        return {}
    flagged = rows.n_texts("hull_hole")
    n_mixtures, example = _mixtures(rows)
    above = rows.column(next(name for name in rows.schema.names if name.endswith("energy_above_hull_ev_per_atom")))
    return {
        "median_energy_above_hull_ev_per_atom": _finite_median(above),
        "share_within_0.05_ev_per_atom_of_hull": float((above <= _NEAR_HULL).mean()),
        "share_hull_hole": flagged / len(rows),
        "share_mixtures": n_mixtures / len(rows),
        "mixture_example": example,
        "share_far_below_hull": float((above < LOWEST_TRUSTED).mean()),
        "hull_hole_rule": (
            f"a metal and a non-metal element side by side among the products, fewer competing compounds than elements "
            f"less one, or more than {-LOWEST_TRUSTED:g} eV/atom below the hull"
        ),
    }


def _mixtures(rows: RowStore) -> tuple[int, str | None]:
    """How many rows are mixtures of phases that substitute each other, and the decomposition of the first."""
    n_mixtures, example = 0, None
    for texts, counts in rows.texts("decomposition"):
        mixed = are_mixtures(texts)
        n_mixtures += int(counts[mixed].sum())
        if example is None and mixed.any():
            example = texts[int(mixed.argmax())]
    return n_mixtures, example


def _space_groups(rows: RowStore, wanted: str) -> dict[str, Any]:
    """How the rows spread over space groups, and how close the sampler is within them."""
    groups = rows.column("space_group_number")
    if not len(groups):
        return {}
    counts = np.unique(groups, return_counts=True)[1]
    share = counts / counts.sum()
    difference = rows.column(wanted) - rows.column("log_pf")
    spreads = [_spread(difference[groups == g]) for g in np.unique(groups)]
    known = [spread for spread in spreads if spread is not None]
    return {
        "n_space_groups": len(counts),
        "entropy_space_groups_nats": float(-(share * np.log(share)).sum()),
        "median_std_within_space_groups": float(np.median(known)) if known else None,
    }


def dominated_volumes(kernel: TransitionKernel, reward: Reward, rows: RowStore, seed: int) -> dict[str, Any] | None:
    """Hypervolume of the rows' log-scores and of those of random objects; None for more than four terms.

    The reference point is the worst log-score of each term among the random objects, 0 where none has a reward.
    """
    names = [term.name for term, _ in reward.terms]
    if len(names) > MAX_AXES:
        return None
    states, origin = random_objects(kernel, _N_BASELINE, stream(seed, "baseline"))
    values = reward(kernel.objects(states))
    random = np.stack([values.log_scores[name][values.valid] for name in names], axis=1)
    random = random[np.isfinite(random).all(axis=1)]
    reference = random.min(axis=0) if len(random) else np.zeros(len(names))
    sampled = np.stack([rows.column(f"{name}_log_score") for name in names], axis=1)
    return {
        "value": hypervolume(sampled, reference),
        "random_value": hypervolume(random, reference) if len(random) else None,
        "n_rows": len(sampled),
        "n_random": len(random),
        "random_objects": origin,
        "reference": dict(zip(names, reference.tolist())),
    }


def _random_energies(kernel: TransitionKernel, model: EnergyTerm, rng: np.random.Generator) -> tuple[Floats, str]:
    """Predicted formation energies of random objects, eV/atom, and how these were drawn."""
    states, origin = random_objects(kernel, _N_BASELINE, rng)
    energy = model(kernel.objects(states))
    return energy.values[energy.valid], origin


def _chemical_systems(rows: RowStore) -> tuple[int, set[str]]:
    """How many there are, told apart by 64 bits of hash, and the elements in them."""
    hashes = [np.empty(0, dtype=np.uint64)]
    present: set[str] = set()
    for texts, _ in rows.texts("chemsys"):
        hashes.append(pd.util.hash_array(np.array(texts, dtype=object), categorize=False))
        present.update(symbol for text in texts for symbol in text.split("-"))
    return len(np.unique(np.concatenate(hashes))), present


def _share(rows: RowStore, flag: str) -> float | None:
    """Share of true flags, missing ones counted as false; None for an empty table."""
    return rows.n_true(flag) / len(rows) if len(rows) else None


def _spread(differences: Floats) -> float | None:
    """Standard deviation; None for fewer than two values that are known."""
    known = differences[~np.isnan(differences)]
    return float(known.std(ddof=1)) if len(known) > 1 else None


def _finite_median(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _median(values: Floats, rng: np.random.Generator) -> dict[str, float] | None:
    """Median with its bootstrap standard error."""
    if not len(values):
        return None
    resampled = [np.median(rng.choice(values, size=len(values))) for _ in range(_N_RESAMPLES)]
    return {"value": float(np.median(values)), "standard_error": float(np.std(resampled))}
