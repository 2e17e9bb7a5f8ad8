"""What a prior is worth: likelihood of objects that it never saw, and what its draws are like."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oreflow.agent.errors import ConfigError
from oreflow.agent.learners.prior import split
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.rollout.rollout import backward_rollout
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.trained_run import TrainedRun
from oreflow.agent.storage.atomic_files import sha256
from oreflow.agent.training.warm_start import known_objects
from oreflow.envs.arrays import Bools, Floats, States
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.oxidation import resolve_table
from oreflow.envs.contract.labelings import canonical
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance
from oreflow.rewards.terms.composition.smact_validity import SmactValidity

_MEASURED = 2000  # held-out objects whose exact likelihood is computed
_N_BOOTSTRAP = 200


def prior_card(run: TrainedRun, n_draws: int = 10_000) -> dict[str, Any]:
    """Measure a fitted prior.

    Args:
        run: a run of sampler.kind prior, as `load_run` gives it.
        n_draws: how many draws are judged.

    Returns:
        `data`: the list, its SHA-256, how many objects were fitted and held out. `likelihood`: nats an object and an
        action over held-out objects, all build orders summed, with a standard error; `nats_along_one_order` is minus
        the mean of log P_F along one order drawn from P_B, which is larger. `draws`: shares of the draws that
        are distinct, neutral and balanced under named rules, among the known; how many held-out objects were met.

    Raises:
        ConfigError: when the run is no prior, or its list cannot be read.
    """
    if run.config.sampler.kind != "prior" or run.policy is None:
        raise ConfigError(f"expected a run of sampler.kind prior, got {run.config.sampler.kind}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what was left out was said at the training
        states = known_objects(run.config, run.kernel)
    assert states is not None
    held_out, fitted = split(states, run.config)
    path = Path(run.config.sampler.warm_start.path or "")
    rng = stream(run.config.seed, "check")
    measured = held_out[:_MEASURED] if len(held_out) else fitted[:_MEASURED]
    log_p = log_terminating_probability(run.kernel, run.policy, measured)
    with torch.no_grad():
        walks = backward_rollout(run.kernel, run.policy, measured, rng)
    along_one = -float(walks.total(walks.log_pf).mean())
    card: dict[str, Any] = {
        "data": {
            "path": str(path),
            "sha256": sha256(path) if path.is_file() else None,
            "n_fitted": len(fitted),
            "n_held_out": len(held_out),
            "split": f"at random, seed {run.config.seed}",
        }
        | shares_by_rules(run.kernel.objects(fitted)),
        "likelihood": _likelihood(log_p, n_actions(run, measured), rng)
        | {"of": "held out" if len(held_out) else "fitted", "nats_along_one_order": along_one},
    }
    drawn = canonical(run.kernel, run.sampler.draw(n_draws, rng))
    return card | {"draws": _draws(run, drawn, canonical(run.kernel, fitted), canonical(run.kernel, held_out))}


def n_actions(run: TrainedRun, terminal: States) -> Floats:
    """How many actions build each object, float64 [batch]."""
    n, states, rows = np.zeros(len(terminal)), terminal, np.arange(len(terminal))
    while len(states):
        allowed = run.kernel.backward_allowed(states)
        going_on = allowed.any(axis=1)
        rows, states = rows[going_on], states[going_on]
        n[rows] += 1
        states = run.kernel.unstep(states, allowed[going_on].argmax(axis=1)) if len(states) else states
    return n


def _likelihood(log_p: Floats, actions: Floats, rng: np.random.Generator) -> dict[str, Any]:
    known = np.isfinite(log_p)
    nats = -log_p[known]
    means = [rng.choice(nats, size=len(nats)).mean() for _ in range(_N_BOOTSTRAP)]
    return {
        "n": int(known.sum()),
        "nats_per_object": float(nats.mean()),
        "standard_error": float(np.std(means)),
        "median_nats": float(np.median(nats)),
        "nats_per_action": float(nats.sum() / actions[known].sum()),
    }


def _draws(run: TrainedRun, drawn: States, fitted: States, held_out: States) -> dict[str, Any]:
    """Shares over all draws, repeated ones included, and how many of the objects held out are among them."""
    keys, known, unseen = (_keys(states) for states in (drawn, fitted, held_out))
    out: dict[str, Any] = {
        "n": len(drawn),
        "share_distinct": len(set(keys)) / max(len(keys), 1),
        "share_fitted": len(set(keys) & set(known)) / max(len(set(keys)), 1),
        "n_held_out_met": len(set(unseen) & set(keys)),
    }
    return out | shares_by_rules(run.kernel.objects(drawn))


def shares_by_rules(objects: Any) -> dict[str, Any]:
    """What draws and data are compared in: validity under named rules, numbers of elements, space groups."""
    out: dict[str, Any] = {}
    if isinstance(objects, Compositions | Crystals):
        formulas = objects.formula_units()
        charges, ordered, smact = (
            ChargeBalance()(formulas),
            ElectronegativityBalance()(formulas),
            SmactValidity()(formulas),
        )
        table = resolve_table(DEFAULT_TABLE)
        n_elements = np.bincount((formulas.counts > 0).sum(axis=1))
        out |= {
            f"share_neutral_{table}": _share(charges.values == 0, charges.valid),
            f"share_neutral_and_ordered_{table}": _share(ordered.values == 1, ordered.valid),
            "share_smact_valid": _share(smact.values == 1, smact.valid),
            "share_by_n_elements": {str(k): float(n / len(formulas)) for k, n in enumerate(n_elements.tolist()) if n},
        }
    if isinstance(objects, Crystals):
        shares = np.bincount(objects.space_group, minlength=231)[1:] / len(objects)
        positive = shares[shares > 0]
        entropy = float(-(positive * np.log(positive)).sum())
        out |= {"n_space_groups": len(positive), "entropy_space_groups_nats": entropy}
        out["share_by_space_group"] = {str(k): share for k, share in enumerate(shares.tolist(), start=1) if share}
    return out


def _keys(states: States) -> list[bytes]:
    return [np.ascontiguousarray(state).tobytes() for state in states]


def _share(good: Bools, valid: Bools) -> float:
    return float((good & valid).mean())
