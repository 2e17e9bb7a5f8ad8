"""Known compounds as the objects that a replay buffer starts from."""

import warnings

import numpy as np

from agent.config import Config
from agent.errors import ConfigError
from agent.tables import read_reference
from envs.composition_kernel import CompositionKernel
from rewards.errors import TableError


def known_objects(config: Config, kernel: CompositionKernel, source: str = "config") -> np.ndarray | None:
    """Terminal states [object, *state_shape] of the compounds in `sampler.warm_start.path`; None without a path.

    Rows that cannot be read, and compounds outside the world, are left out with a warning that counts them.

    Raises:
        ConfigError: when the file cannot be read, or none of its compounds is an object of the world.
    """
    path = config.sampler.warm_start.path
    if path is None:
        return None
    try:
        known, bad_rows = read_reference(path)
    except (TableError, OSError) as error:
        raise ConfigError(f"{source}: sampler.warm_start.path: {error}") from None
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
