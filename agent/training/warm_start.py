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
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
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
    known, bad_rows = read_known(config, source)
    if isinstance(known, Crystals):
        assert isinstance(kernel, FindsCrystals)
        return _known_crystals(path, known, bad_rows, kernel, source)
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


def read_known(config: Config, source: str) -> tuple[Compositions | Crystals, list[str]]:
    """Known formulas, or crystals in a world of crystals, and a line for each row that cannot be read.

    Raises:
        ConfigError: when `sampler.warm_start.path` cannot be read, or holds formulas in a world of crystals.
    """
    path = config.sampler.warm_start.path
    assert path is not None
    try:
        are_crystals = holds_crystals(path)
        if config.world.space().object_kind == STRUCTURE:
            if not are_crystals:
                raise ConfigError(
                    f"{source}: sampler.warm_start.path: expected structures, as the world is of crystals (CIF and "
                    f"other structure files, a folder of them, or a table that `oreflow encode` wrote), got formulas "
                    f"in {path}"
                )
            crystals, _, bad_rows = read_crystals(path)
            return crystals, bad_rows
        if are_crystals:
            crystals, _, bad_rows = read_crystals(path)
            return crystals.compositions.reduced(), bad_rows
        return read_reference(path)
    except (TableError, OSError) as error:
        raise ConfigError(f"{source}: sampler.warm_start.path: {error}") from None


def _known_crystals(path: str, known: Crystals, bad: list[str], kernel: FindsCrystals, source: str) -> States:
    """Terminal states of the structures of a file, a folder or a table."""
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
