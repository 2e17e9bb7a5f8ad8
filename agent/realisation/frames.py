"""What a decoration fixes, as the compiled search reads it, and points of the search as crystals."""

import numpy as np

from oreflow.agent.realisation.energy_compiled import (
    CUBIC,
    HEXAGONAL,
    MONOCLINIC,
    N_SHAPE,
    ORTHORHOMBIC,
    TRICLINIC,
    UNIAXIAL,
    Frame,
    cell_of_shape,
)
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, POLAR, group_tables
from oreflow.envs.symmetry.lattices import cell_of
from oreflow.envs.symmetry.space_groups import DENOMINATOR, space_group

# Means and standard deviations of ln(b/a) and ln(c/a) of known crystals of up to 20 atoms, by shape of the cell and
# lattice points in it: 4 800 crystals of formulas that the fit of the pair potentials read. Where a = b, of ln(c/a).
_AXES = {
    (UNIAXIAL, 1): ((0.4,), (0.6,)),
    (UNIAXIAL, 2): ((0.6,), (0.6,)),
    (HEXAGONAL, 1): ((0.2,), (0.75,)),
    (HEXAGONAL, 3): ((1.2,), (0.8,)),
    (ORTHORHOMBIC, 1): ((-0.15, 0.05), (0.5, 0.5)),
    (ORTHORHOMBIC, 2): ((0.6, 0.4), (0.65, 0.65)),
    (ORTHORHOMBIC, 4): ((0.65, 0.7), (0.5, 0.7)),
    (MONOCLINIC, 1): ((0.0, 0.3), (0.4, 0.3)),
    (MONOCLINIC, 2): ((-0.55, -0.3), (0.65, 0.4)),
    (TRICLINIC, 1): ((0.15, 0.4), (0.2, 0.3)),
}
_MOVE = 0.06  # of a cell vector: standard deviation of small moves
_SYSTEMS = {
    "cubic": CUBIC,
    "tetragonal": UNIAXIAL,
    "trigonal": HEXAGONAL,
    "hexagonal": HEXAGONAL,
    "orthorhombic": ORTHORHOMBIC,
    "monoclinic": MONOCLINIC,
    "triclinic": TRICLINIC,
}


def make_frame(
    decoration: Crystals, volume: float, kinds: Ints, pair: Floats, spacing: float, stiffness: float
) -> Frame:
    """What one decoration fixes.

    Args:
        decoration: one crystal, with or without geometry.
        volume: cubic angstrom of the primitive cell.
        kinds: int64 [kind], atomic numbers, ascending.
        pair, spacing, stiffness: as `Frame` has them.
    """
    number = int(decoration.space_group[0])
    group = space_group(number)
    to_cell = np.linalg.inv(group.primitive)
    origins, slopes, first, parameter = [], [], [0], [0]
    for letter in decoration.letter.tolist():
        operations = group.orbit_operation[group.orbit_start[letter] : group.orbit_start[letter + 1]]
        rotations = group.rotations[operations].astype(np.float64)
        basis = group.basis[letter].astype(np.float64)
        origin = rotations @ (group.origin[letter] / DENOMINATOR) + group.translations[operations] / DENOMINATOR
        slope = rotations @ basis
        test = (origin + slope @ np.array([0.1234, 0.2917, 0.4391])) @ to_cell
        folded = np.round(test % 1.0, 6) % 1.0
        _, kept = np.unique(folded, axis=0, return_index=True)
        kept.sort()
        origins.append((origin @ to_cell)[kept])
        slopes.append(np.einsum("nm,anp->amp", to_cell, slope)[kept])
        first.append(first[-1] + len(kept))
        parameter.append(parameter[-1] + int(group.dof[letter]))
    return Frame(
        _SYSTEMS[group.crystal_system],
        float(volume),
        float(stiffness),
        np.ascontiguousarray(group.primitive, dtype=np.float64),
        float(group.n_centring),
        np.array(first, dtype=np.int64),
        np.array(parameter, dtype=np.int64),
        np.ascontiguousarray(np.concatenate(origins)),
        np.ascontiguousarray(np.concatenate(slopes)),
        np.searchsorted(kinds, decoration.atomic_number).astype(np.int64),
        np.ascontiguousarray(pair),
        float(spacing),
    )


def draw_points(frame: Frame, n: int, rng: np.random.Generator) -> Floats:
    """Draw random points, float64 [n, parameter]: coordinates uniform, the volume asked for.

    Ratios of axes are log-normal, with the moments that known crystals of such a cell have. Cosines of free angles are
    uniform, from -1/2 to 0 in monoclinic cells, where the others are the same cells with other axes, and from -1/2 to
    1/2 in triclinic ones.
    """
    n_free, n_shape = int(frame.parameter[-1]), N_SHAPE[frame.system]
    points = np.zeros((n, n_free + n_shape + 1))
    points[:, :n_free] = rng.random((n, n_free))
    n_ratios = min(n_shape, 2)
    if n_ratios:
        mean, spread = _AXES[frame.system, round(frame.n_centring)]
        points[:, n_free : n_free + n_ratios] = mean + np.array(spread) * rng.standard_normal((n, n_ratios))
    angles = rng.random((n, n_shape - n_ratios))
    points[:, n_free + n_ratios : -1] = -0.5 * angles if frame.system == MONOCLINIC else angles - 0.5
    return points


def changed_points(frame: Frame, points: Floats, rng: np.random.Generator) -> Floats:
    """Change each of some points, float64 [point, parameter], so that a descent may end elsewhere.

    Half of them have one site, and some a second one, put anywhere; of the others half have all atoms moved a little,
    and half a new shape of the cell as well.
    """
    n, n_free = len(points), int(frame.parameter[-1])
    fresh = draw_points(frame, n, rng)
    out = points.copy()
    way = rng.random(n)
    free_sites = np.flatnonzero(np.diff(frame.parameter))
    for row in range(n):
        if way[row] < 0.5 and len(free_sites):
            for site in rng.choice(free_sites, 1 + int(way[row] < 0.15)):
                own = slice(frame.parameter[site], frame.parameter[site + 1])
                out[row, own] = fresh[row, own]
        else:
            out[row, :n_free] += _MOVE * rng.standard_normal(n_free)
            if way[row] > 0.75:
                out[row, n_free:-1] = fresh[row, n_free:-1]
    out[:, -1] = 0.0
    return out


def n_parameters(frame: Frame) -> int:
    """Length of a point: coordinates, shape, volume."""
    return int(frame.parameter[-1]) + N_SHAPE[frame.system] + 1


def free_coordinates(decoration: Crystals) -> int:
    """Free coordinates of one decoration, less one for every axis along which the origin is free."""
    tables = group_tables()
    number = decoration.space_group[0]
    dof = tables.row[tables.group[number, FIRST_ROW] + decoration.letter, DOF].sum()
    return max(int(dof - tables.group[number, POLAR : POLAR + 3].sum()), 0)


def crystals_of(decoration: Crystals, frame: Frame, points: Floats) -> Crystals:
    """The decoration with the geometry of each point, float64 [point, parameter]."""
    n, n_sites, n_free = len(points), len(decoration.letter), int(frame.parameter[-1])
    lattice, parameters = np.empty((n, 6)), np.zeros((n, n_sites, 3))
    vectors = np.empty((3, 3))
    for row, x in enumerate(points):
        volume = frame.volume * frame.n_centring * np.exp(x[-1])
        cell_of_shape(frame.system, x[n_free:], volume, vectors)
        lattice[row] = cell_of(vectors @ vectors.T)
        for s in range(n_sites):
            own = x[frame.parameter[s] : frame.parameter[s + 1]] % 1.0
            parameters[row, s, : len(own)] = own
    _exact(lattice, frame.system)
    return Crystals(
        np.repeat(decoration.space_group, n),
        np.arange(n + 1, dtype=np.int64) * n_sites,
        np.tile(decoration.letter, n),
        np.tile(decoration.atomic_number, n),
        lattice,
        parameters.reshape(-1, 3),
    )


def _exact(lattice: Floats, system: int) -> None:
    """Take rounding out of what symmetry fixes, in place."""
    if system == CUBIC:
        lattice[:, 1:3] = lattice[:, :1]
    elif system in (UNIAXIAL, HEXAGONAL):
        lattice[:, 1] = lattice[:, 0]
    if system == MONOCLINIC:
        lattice[:, [3, 5]] = 90.0
    elif system != TRICLINIC:
        lattice[:, 3:] = 90.0
    if system == HEXAGONAL:
        lattice[:, 5] = 120.0
