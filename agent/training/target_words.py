"""What a config's samples are distributed as, in one or two sentences for the reader of a summary."""

from pathlib import Path

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.policy.strata import Strata
from oreflow.agent.registry import OBJECTIVES
from oreflow.envs.registry import STRUCTURE

_THINGS = {"composition": "formulas", "wyckoff": "crystals", "alloy": "alloys"}
_MOST_LISTED = 6  # shares of strata that stand in a sentence
_OF_SEARCHES = {
    "random": "{things} built by random choices, whatever their reward",
    "genetic": "the {things} of highest reward that were found; they follow no distribution",
    "metropolis_hastings": "{things} in proportion to R, in the long run of the chains",
    "ion_exchange": "{things} made from known compounds by exchanging ions of equal charge, whatever their reward",
    "prototype_decoration": "charge-neutral {things} made from known prototypes with random elements, whatever their "
    "reward",
}


def target_in_words(config: Config, strata: Strata | None) -> str:
    """Say what is sampled, in proportion to what, and with which shares of strata.

    Args:
        config: whose `target`, world and sampler say it.
        strata: space groups or numbers of elements that have shares; None where none have.
    """
    things = _THINGS.get(config.world.kind, "objects")
    start = getattr(config.world, "start", None)
    if start is not None:
        things += f" that complete {start}"
    if config.sampler.kind == "prior":
        known = Path(config.sampler.warm_start.path or "").name
        return f"{things} as likely as among the known compounds of {known}"
    if config.sampler.kind in _OF_SEARCHES:
        return _OF_SEARCHES[config.sampler.kind].format(things=things)
    proportion = f"{things} in proportion to {_weight(config)}{_geometry(config)}"
    if strata is not None:
        return f"{_shares(config, strata)}; within one, {proportion}"
    if config.world.kind == "wyckoff":
        return f"{proportion}; space groups get what this gives them"
    return proportion


def _weight(config: Config) -> str:
    sampler, target = config.sampler, config.target
    if sampler.objective not in OBJECTIVES.built_in:
        return f"what the objective {sampler.objective} makes of R"
    if sampler.family.kinds:
        return _member(config)
    if sampler.kind == "policy_gradient" and not sampler.log_pb_correction and target.prior is None:
        return "R times the number of build orders"
    if target.prior is None:
        return "R"
    power = "" if target.tau == 1 else f"^{1 / target.tau:.3g}"
    likely = (
        "" if target.least_log_prior is None else f", of objects with log P0 of at least {target.least_log_prior:g}"
    )
    return f"P0 · R{power}, P0 the law of the prior {target.prior}{likely}"


def _member(config: Config) -> str:
    """The reward that is asked for out of a family, times the prior where there is one."""
    family, target = config.sampler.family, config.target
    power, asked = "" if target.tau == 1 else f"^{1 / target.tau:.3g}", []
    if family.range is not None:
        low, high = family.range
        asked.append(f"the {family.term} asked for as its target ({low:g} to {high:g})")
    if "preference" in family.kinds:
        asked.append("its terms weighted as asked for")
    if "temperature" in family.kinds:
        low, high = family.beta
        power = "^beta" if target.tau == 1 else f"^(beta / {target.tau:g})"
        asked.append(f"the beta asked for ({low:g} to {high:g})")
    reward = f"R{power}" if target.prior is None else f"P0 · R{power}, P0 the law of the prior {target.prior}"
    return f"{reward}, with {' and '.join(asked)}"


def _geometry(config: Config) -> str:
    world = config.world.space()
    if world.object_kind != STRUCTURE or not world.has_geometry:
        return ""
    if config.target.measure == "normalised":
        return " without the terms that read the geometry, which choose among the geometries of each decoration alone"
    if config.target.measure == "density":
        return ", R a density over geometries whatever their bins"
    return ", every geometry bin an object"


def _shares(config: Config, strata: Strata) -> str:
    """Who has shares, and which."""
    each = "numbers of elements" if config.target.prescribes_numbers else "space groups"
    n = len(strata)
    if strata.power is not None:
        weight = "R" if config.target.prior is None else "P0 · R"
        return f"the {n} {each} have shares proportional to Z^{strata.power:g}, Z the sum of {weight} in each"
    shares = np.exp(strata.log_share)
    if n == 1:
        return f"all samples are of one of the {each}, {strata.names[0]}"
    if np.allclose(shares, shares[0]):
        return f"each of the {n} {each} has the same share"
    if config.target.space_groups == "by_system":
        return f"each crystal system has the same share, divided among its groups ({n} in all)"
    if n <= _MOST_LISTED:
        listed = ", ".join(f"{name}: {share:.3g}" for name, share in zip(strata.names, shares.tolist()))
        return f"each of the {n} {each} has its share ({listed})"
    return f"each of the {n} {each} has its share, from {shares.min():.2g} to {shares.max():.2g}"
