"""Known compounds as the objects that a replay buffer starts from."""

import warnings

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.errors import ConfigError
from oreflow.agent.tables.formulas import read_reference
from oreflow.agent.tables.known_crystals import holds_crystals, read_crystals
from oreflow.envs.arrays import States
from oreflow.envs.contract.finding import FindsCompositions, FindsCrystals
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.registry import STRUCTURE
from oreflow.rewards.errors import TableError


def known_objects(config: Config, kernel: TransitionKernel, source: str = "config") -> States | None:
    """Terminal states [object, *state_shape] of the compounds in `sampler.warm_start.path`; None without a path.

    Rows that cannot be read, and compounds outside the world, are left out with a warning that counts them.

    Raises:
        ConfigError: when the file cannot be read, none of its compounds is an object of the world, or the world cannot
            tell which are.
    """
    path = config.sampler.warm_start.path
    if path is None:
        return None
    if not isinstance(kernel, FindsCompositions | FindsCrystals):
        raise ConfigError(
            f"{source}: sampler.warm_start.path: the kernel of world.kind {config.world.kind} has no method find, "
            "which turns known compounds into its states; write one, or leave warm_start out"
        )
    try:
        if config.world.space().object_kind == STRUCTURE and isinstance(kernel, FindsCrystals):
            return _known_crystals(path, kernel, source)
        if holds_crystals(path):
            crystals, _, bad_rows = read_crystals(path)
            known = crystals.compositions.reduced()
        else:
            known, bad_rows = read_reference(path)
    except (TableError, OSError) as error:
        raise ConfigError(f"{source}: sampler.warm_start.path: {error}") from None
    assert isinstance(kernel, FindsCompositions)
    states, inside = kernel.find(known)
    if not inside.any():
        raise ConfigError(
            f"{source}: sampler.warm_start.path: expected compounds of this world, but none of the {len(known)} in "
            f"{path} is one; check world.elements, n_atoms, count and neutrality"
        )
    left_out = len(bad_rows) + int((~inside).sum())
    if left_out:
        example = bad_rows[0] if bad_rows else f"{known[~inside].formulas()[0]} is no object of this world"
        warnings.warn(f"{path}: {left_out} rows left out of the warm start, such as: {example}", stacklevel=2)
    return states[inside]


def _known_crystals(path: str, kernel: FindsCrystals, source: str) -> States:
    """Terminal states of the structures in a file, a folder or a table."""
    if not holds_crystals(path):
        raise ConfigError(
            f"{source}: sampler.warm_start.path: expected structures, as the world is of crystals (CIF and other "
            f"structure files, a folder of them, or a table that `oreflow encode` wrote), got formulas in {path}"
        )
    known, _, bad = read_crystals(path)
    states, inside, reasons = kernel.find(known)
    if not inside.any():
        raise ConfigError(
            f"{source}: sampler.warm_start.path: expected crystals of this world, but none of the {len(known)} in "
            f"{path} is one; the first is not, because {reasons[0]}"
        )
    left_out = len(bad) + int((~inside).sum())
    if left_out:
        first = int(np.argmin(inside))
        example = (
            bad[0] if bad else f"{known[first : first + 1].compositions.reduced().formulas()[0]}: {reasons[first]}"
        )
        warnings.warn(f"{path}: {left_out} entries left out of the warm start, such as: {example}", stacklevel=3)
    return states[inside]
