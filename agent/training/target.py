"""The target of a config on its kernel: shares of its strata, and what a geometry counts.

Strata are the space groups of crystals, or the numbers of elements of formulas.
"""

import warnings

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.config.target import TargetConfig
from oreflow.agent.errors import ConfigError
from oreflow.agent.policy.strata import Strata, first_actions, strata_of
from oreflow.agent.storage.shipped_priors import card_of_prior
from oreflow.agent.tables.formulas import read_reference
from oreflow.agent.tables.known_crystals import holds_crystals, read_crystals
from oreflow.envs.arrays import AnyInts, Floats, Ints, States
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.number_first import NumberFirstKernel
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import group_numbers
from oreflow.envs.symmetry.space_groups import CRYSTAL_SYSTEMS, space_group

_ONCE_MORE = 1.0  # as if each had been seen once more: none is impossible
_ROUNDING = 1e-6  # by which shares that are meant to sum to one may miss it


def with_first_decision(config: Config, kernel: TransitionKernel) -> TransitionKernel:
    """The kernel in which the number of elements is chosen first, where its shares are prescribed; else the given one.

    Raises:
        ConfigError: for shares of numbers that no formula of the world has.
    """
    chosen = config.target.n_elements
    if chosen == "counted" or not isinstance(kernel, CompositionKernel):
        return kernel
    try:
        return NumberFirstKernel(kernel, [k for k, s in chosen.items() if s > 0] if isinstance(chosen, dict) else None)
    except ValueError as error:
        raise ConfigError(f"target.n_elements: {error}") from None


def make_strata(config: Config, kernel: TransitionKernel) -> Strata | None:
    """The space groups or numbers of elements that can be chosen, with their shares; None where none are prescribed.

    Raises:
        ConfigError: for shares of groups that are not in the world.
    """
    if isinstance(kernel, NumberFirstKernel):
        return strata_of(kernel, shares_of_numbers(config, kernel.numbers), [str(k) for k in kernel.numbers.tolist()])
    if not config.target.prescribes_groups or not isinstance(kernel, WyckoffKernel):
        return None
    groups = np.array(kernel.space.space_groups)[first_actions(kernel)]
    names = [str(number) for number in groups.tolist()]
    return strata_of(kernel, shares(config, groups), names, config.target.power)


def shares_of_numbers(config: Config, numbers: Ints) -> Floats:
    """The weight of each number of elements, float64 [number], not normalised; as `shares` of space groups."""
    chosen = config.target.n_elements
    if isinstance(chosen, dict):
        return np.array([chosen[k] for k in numbers.tolist()])
    if chosen == "known":
        path = config.target.reference
        if path is None:
            return _fitted(config, "share_by_n_elements", numbers) + _ONCE_MORE
        known = read_crystals(path).crystals.compositions if holds_crystals(path) else read_reference(path)[0]
        counts = np.bincount(known.n_elements, minlength=int(numbers[-1]) + 1)[numbers]
        return counts.astype(np.float64) + _ONCE_MORE
    return np.ones(len(numbers))


def record_shares(config: Config, kernel: TransitionKernel) -> None:
    """Write the shares that a reference gives into the config: a run keeps them, whatever becomes of the file.

    Shares of numbers of elements that do not sum to one are written as what they stand for, with a warning.

    Raises:
        TableError: when the reference cannot be read.
    """
    chosen = config.target.n_elements
    if isinstance(kernel, NumberFirstKernel) and (chosen == "known" or isinstance(chosen, dict)):
        weights = shares_of_numbers(config, kernel.numbers)
        recorded = dict(zip(kernel.numbers.tolist(), (weights / weights.sum()).tolist()))
        if isinstance(chosen, dict) and abs(weights.sum() - 1) <= _ROUNDING:
            return
        if isinstance(chosen, dict):
            shown = ", ".join(f"{k}: {share:.4g}" for k, share in recorded.items())
            warnings.warn(
                f"target.n_elements: the shares sum to {weights.sum():.6g}, not to 1; taken as {{{shown}}}",
                stacklevel=2,
            )
        config.target = TargetConfig(**config.target.model_dump() | {"n_elements": recorded, "reference": None})
    if config.target.space_groups == "known" and isinstance(kernel, WyckoffKernel):
        groups = np.array(kernel.space.space_groups)[first_actions(kernel)]
        found = {str(number): share for number, share in zip(groups.tolist(), shares(config, groups).tolist())}
        config.target = TargetConfig(**config.target.model_dump() | {"space_groups": found, "reference": None})


def shares(config: Config, groups: AnyInts) -> Floats:
    """The weight of each space group, float64 [group], not normalised.

    Args:
        config: whose `target.space_groups` says how.
        groups: int [group], numbers of the groups that can host an object of the world.

    Raises:
        ConfigError: naming what is not there.
    """
    chosen = config.target.space_groups
    if isinstance(chosen, dict):
        return _mapped(chosen, groups)
    if chosen == "by_system":
        systems = [space_group(number).crystal_system for number in groups.tolist()]
        return np.array([1.0 / systems.count(system) for system in systems])
    if chosen == "known":
        if config.target.reference is None:
            return _fitted(config, "share_by_space_group", groups) + _ONCE_MORE
        known = read_crystals(config.target.reference, quiet=False).crystals.space_group
        counts = np.bincount(known, minlength=231)[groups].astype(np.float64)
        return counts + _ONCE_MORE
    return np.ones(len(groups))


def _fitted(config: Config, key: str, numbers: AnyInts) -> Floats:
    """How many of the compounds that the prior was fitted on have each of these numbers, float64 [number]."""
    assert config.target.prior is not None
    data = card_of_prior(config.target.prior).get("data", {})
    if key not in data:
        raise ConfigError(
            f"target: expected the card of the prior {config.target.prior} to say {key}, found it not; give a "
            "reference, or fit the prior anew with oreflow fit-prior"
        )
    return data["n_fitted"] * np.array([data[key].get(str(number), 0.0) for number in numbers.tolist()])


def _mapped(chosen: dict[str, float], groups: AnyInts) -> Floats:
    """Shares by number, symbol or system; a system's is divided among its groups, and what is not named gets none."""
    out = np.zeros(len(groups))
    for name, share in chosen.items():
        try:
            numbers = group_numbers([int(name) if str(name).isdigit() else name])
        except ValueError as error:
            raise ConfigError(f"target.space_groups: {error}") from None
        here = np.isin(groups, numbers)
        if not here.any():
            raise ConfigError(
                f"target.space_groups: no object of the world has space group {name}; take it out, or widen "
                f"world.space_groups (those that can: {', '.join(map(str, groups.tolist()[:12]))}"
                f"{', …' if len(groups) > 12 else ''})"
            )
        out[here] += share / here.sum() if name in CRYSTAL_SYSTEMS or here.sum() > 1 else share
    return out


def log_measure(kernel: TransitionKernel, states: States, target: TargetConfig | None) -> Floats | float:
    """What is taken from log R of terminal states, float64 [batch], so that it counts as the target says.

    Where R counts as a density: log of the number of geometries that share the weight of a decoration.
    """
    if target is None or target.measure != "density" or not isinstance(kernel, WyckoffKernel):
        return 0.0
    return kernel.log_geometries(states)
