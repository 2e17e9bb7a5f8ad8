"""What a worker does for `oreflow relax`."""

import functools
from dataclasses import asdict
from typing import Any

from oreflow.agent.relaxation.tracks import Settings, make_relaxer
from oreflow.rewards.executors.protocol import Work


def relaxation_work(settings: Settings, time_limit_s: float) -> Work:
    """The work of relaxing a structure: its vectors in angstrom, its symbols and its fractional coordinates.

    Args:
        time_limit_s: after which a relaxation ends where it is.
    """
    params = {"settings": asdict(settings), "time_limit_s": time_limit_s}
    return Work("relaxation", params, functools.partial(make_relaxer, settings, time_limit_s))


def task_of(structure: Any) -> tuple[list[list[float]], list[str], list[list[float]]]:
    """Take a pymatgen structure apart, as the work needs it."""
    symbols = [site.specie.symbol for site in structure]
    return structure.lattice.matrix.tolist(), symbols, structure.frac_coords.tolist()
