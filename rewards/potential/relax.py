"""Relaxations with any potential: with the symmetry held, in the free parameters alone, or free."""

import math
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.descent import Point, descend
from oreflow.rewards.potential.free_parameters import FreeParameters, reduce, without_symmetry
from oreflow.rewards.potential.protocol import MIN_DISTANCE_A, Cell, Potential, check_cell, too_close

# Beyond this factor, either way, a cell has flown apart or collapsed. Proposed cells are often several times too dense,
# and relax to sound crystals; atoms that drift apart soon lose their last neighbour, which ends it too.
MAX_VOLUME_FACTOR = 10.0
# Energies of the Materials Project's scale are relative to free atoms without spin, so solids have negative ones.
# Squeezed atoms can end in a spurious minimum of the potential, several eV above free atoms.
MAX_ENERGY_EV_PER_ATOM = 1.0
# Soft crystals have small forces far from their minimum: no relaxation is at its end that expects to gain more yet. As
# curvatures learnt so far are often too large, it is a thirtieth of the 1 meV/atom within which ends then are.
MAX_GAIN_EV_PER_ATOM = 3e-5
SYMMETRY_TOLERANCE_A = 0.01
"""Within which the symmetry to be held is found."""

Status = Literal["converged", "not_converged", "time_limit", "unphysical"]


@dataclass(frozen=True)
class Relaxation:
    """The end of a relaxation, and how it came to it.

    Attributes:
        status: "converged"; "not_converged" after all steps; "time_limit"; "unphysical", where volume, distances or
            energy left the range of solids, so that the end has no meaning.
        reason: a phrase; "" where converged.
        vectors: float64 [3, 3], rows are lattice vectors in angstrom.
        fractional: float64 [atom, 3], in the order of the input and not wrapped into the cell.
        energy_before_ev_per_atom, energy_ev_per_atom: potential energy of the input and of the end.
        max_force_ev_per_a: largest force on an atom at the end.
        n_steps: steps of the optimiser.
        n_energies: energies that it asked for, those of steps taken back included.
        n_parameters: free parameters of cell and positions together.
    """

    status: Status
    reason: str
    vectors: Floats
    fractional: Floats
    energy_before_ev_per_atom: float
    energy_ev_per_atom: float
    max_force_ev_per_a: float
    n_steps: int
    n_energies: int
    n_parameters: int


def relax(
    potential: Potential,
    cell: Cell,
    *,
    hold_symmetry: bool,
    fmax: float = 0.1,
    steps: int = 500,
    time_limit_s: float = math.inf,
) -> Relaxation:
    """Moves atoms and cell downhill until forces vanish.

    Args:
        cell: with at least one neighbour within reach of every atom.
        hold_symmetry: whether only what keeps the symmetry of `cell` is varied, on its primitive cell.
        fmax: eV/angstrom, converged when no atom, and no row of the cell's gradient over the number of atoms, has a
            larger force, and less than 0.03 meV/atom is expected to be gained.
        steps: at most so many.
        time_limit_s: seconds after which the relaxation ends where it is.

    Raises:
        PotentialError: when the potential cannot describe the structure.
    """
    check_cell(cell, potential.card)
    started = time.monotonic()
    reduced = reduce(cell, SYMMETRY_TOLERANCE_A) if hold_symmetry else without_symmetry(cell)
    space = FreeParameters(reduced)
    path = descend(potential, space)
    first = point = next(path)
    n_steps = 0
    status, reason = _status(potential, first, point, fmax)
    while not status:
        if n_steps == steps:
            status, reason = "not_converged", f"forces above {fmax:g} eV/angstrom after {steps} steps"
        elif time.monotonic() - started > time_limit_s:
            status, reason = "time_limit", f"not converged within {time_limit_s:g} s"
        else:
            try:
                following = next(path, None)
            except PotentialError as error:  # what was a solid at the start became none on the way
                status, reason = "unphysical", str(error).splitlines()[0]
                break
            if following is None:
                status, reason = _stuck(point, fmax)
                break
            point, n_steps = following, n_steps + 1
            status, reason = _status(potential, first, point, fmax)
    n = len(point.cell.numbers)
    if status != "unphysical" and potential.card.correction != "none" and point.energy / n > MAX_ENERGY_EV_PER_ATOM:
        status = "unphysical"
        reason = f"the energy, {point.energy / n:.3g} eV/atom, is above that of free atoms"
    vectors, fractional = reduced.expand(point.cell.vectors, point.cell.fractional)
    return Relaxation(
        status,  # type: ignore[arg-type]
        reason,
        vectors,
        fractional,
        first.energy / n,
        point.energy / n,
        point.atom_force,
        n_steps,
        point.n_calls,
        space.size,
    )


def _status(potential: Potential, first: Point, point: Point, fmax: float) -> tuple[str, str]:
    """How a relaxation ends at a point; two empty phrases where it goes on."""
    if not math.isfinite(point.energy):
        return "unphysical", "the energy is not a finite number"
    factor = point.cell.volume / first.cell.volume
    if not 1 / MAX_VOLUME_FACTOR < factor < MAX_VOLUME_FACTOR:
        return "unphysical", f"the volume became {factor:.3g} times that of the start"
    if too_close(point.cell):
        return "unphysical", f"two atoms came closer than {MIN_DISTANCE_A:g} angstrom"
    if point.force < fmax and point.gain_ev_per_atom < MAX_GAIN_EV_PER_ATOM:
        return "converged", ""
    return "", ""


def _stuck(point: Point, fmax: float) -> tuple[str, str]:
    """What a point is from which no step, however short, lowers the energy."""
    if point.force < fmax:
        return "converged", ""
    return "not_converged", f"no step lowers the energy, with forces of {np.round(point.force, 3):g} eV/angstrom"
