"""The geometries of one decoration: searched in two potentials, distinct ones kept, the best of them chosen."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from oreflow.agent.errors import RealisationError
from oreflow.agent.realisation.energy_compiled import Frame
from oreflow.agent.realisation.frames import (
    changed_points,
    draw_points,
    free_coordinates,
    make_frame,
    n_parameters,
)
from oreflow.agent.realisation.minima import Geometry, distinct_minima, merge_pools
from oreflow.agent.realisation.potentials import (
    SPACING_A,
    STIFFNESS_EV,
    Potential,
    expected_volume,
    pair_tables,
)
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.flat_tables import N_CENTRING, group_tables

POTENTIALS: tuple[Potential, ...] = ("mean_force", "mean_force_coulomb")
MAX_ATOMS = 200
HARD = 10  # parameters; above, the lowest minima are changed and descended from again
ROUNDS, N_PARENTS = 2, 30
_MOST_RATIOS = 2
_RUNGS = (-0.9, 2.4, 0.15)  # ln of a ratio of axes: nineteen in twenty known crystals lie within

Rank = Callable[[Sequence[Any]], Floats]
"""Energies in eV/atom of pymatgen structures, NaN where there is none."""


@dataclass(frozen=True)
class Settings:
    """How geometries are searched.

    Attributes:
        keep: geometries of a decoration; 0 for as many as it has free parameters, from 1 to 3.
        effort: how many points are drawn, in units of 300 for each parameter and potential; a tenth of them descend.
        n_ranked: distinct minima that are ranked by an energy, at most; twice as many of more than ten parameters.
        rank: "chgnet", or "contacts" for the pair potentials alone.
        seed: of the draws.
    """

    keep: int = 0
    effort: float = 1.0
    n_ranked: int = 24
    rank: str = "contacts"
    seed: int = 0

    def record(self) -> dict[str, Any]:
        """These as the journal keeps them."""
        return asdict(self) | {"potentials": list(POTENTIALS), "search_version": 3}


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        geometries: the best, best first.
        n_free_coordinates, n_free_parameters: the second counts the shape of the cell too, and not its volume.
        n_trials: points drawn.
        n_energies: pair energies computed.
        n_distinct: distinct minima that the best were chosen from.
        search_seconds: of CPU time, in the compiled search.
    """

    geometries: list[Geometry]
    n_free_coordinates: int
    n_free_parameters: int
    n_trials: int
    n_energies: int
    n_distinct: int
    search_seconds: float


def decoration_key(decoration: Crystals, settings: dict[str, Any]) -> str:
    """Digest of a decoration, sites in whatever order, and of what decides how it is searched."""
    sites = sorted(zip(decoration.letter.tolist(), decoration.atomic_number.tolist()))
    return hashlib.sha256(repr((int(decoration.space_group[0]), sites, sorted(settings.items()))).encode()).hexdigest()[
        :32
    ]


def find_geometries(decoration: Crystals, settings: Settings, rank: Rank | None = None) -> Found:
    """Search the geometries of one decoration: the same ones whatever was searched before.

    Args:
        decoration: one crystal; a geometry that it has plays no part.
        settings: how.
        rank: energies that decide which are the best; by default the pair potentials do.

    Raises:
        RealisationError: when there is none.
    """
    from oreflow.agent.realisation.search_compiled import search

    order = np.lexsort((decoration.atomic_number, decoration.letter))
    ordered = _reordered(decoration, order)
    frames = _frames(ordered)
    n_atoms, n = int(frames[0].first[-1]), n_parameters(frames[0])
    free = free_coordinates(decoration)
    n_free = free + n - 1 - int(frames[0].parameter[-1])
    seed = int(decoration_key(decoration, {"seed": settings.seed})[:16], 16)
    n_draws = 1 if n == 1 else max(int(300 * settings.effort * min(n, 20)), 20)
    n_ranked = settings.n_ranked * (2 if n > HARD else 1)
    n_trials, n_energies, seconds = 0, 0, 0.0
    pools: list[list[Geometry]] = []
    for potential, frame in zip(POTENTIALS, frames):
        rng = np.random.default_rng(seed)
        points = draw_points(frame, n_draws, rng)
        started = time.perf_counter()
        energies, minima, used = search(frame, points, max(n_draws // 10, 1), 200)
        if n > HARD:
            energies, minima, more = _improved(frame, energies, minima, n_draws // 20, rng)
            used += more
        seconds += time.perf_counter() - started
        n_trials, n_energies = n_trials + n_draws, n_energies + used
        finite = np.isfinite(energies)
        energies, minima = energies[finite] / n_atoms, minima[finite]
        pools.append(distinct_minima(ordered, frame, energies, minima, potential, n_ranked // len(POTENTIALS)))
    if rank is not None and not free and 0 < n - 1 <= _MOST_RATIOS:
        pools.append(_ladder(ordered, frames[0], n_ranked))
    merged = merge_pools(pools)
    if not merged:
        raise RealisationError("no cell was found in which its atoms keep apart")
    if rank is not None and len(merged) > 1:
        energies = rank([geometry.structure for geometry in merged])
        merged = [replace(geometry, energy=energy) for geometry, energy in zip(merged, energies.tolist())]
        merged.sort(key=lambda geometry: (np.isnan(geometry.energy), geometry.energy))
    keep = settings.keep or min(max(n_free, 1), 3)
    back = np.argsort(order)
    chosen = [replace(geometry, crystal=_reordered(geometry.crystal, back)) for geometry in merged[:keep]]
    return Found(chosen, free, n_free, n_trials, n_energies, len(merged), seconds)


def _frames(decoration: Crystals) -> list[Frame]:
    """What the decoration fixes, in each of the potentials."""
    multiplicity = decoration.multiplicity // group_tables().group[decoration.space_group[0], N_CENTRING]
    numbers = np.repeat(decoration.atomic_number, multiplicity).astype(np.int64)
    if len(numbers) > MAX_ATOMS:
        raise RealisationError(f"expected at most {MAX_ATOMS} atoms in the primitive cell, got {len(numbers)}")
    volume, kinds = expected_volume(numbers), np.unique(numbers)
    return [
        make_frame(decoration, volume, kinds, pair_tables(numbers, potential), SPACING_A, STIFFNESS_EV)
        for potential in POTENTIALS
    ]


def _improved(
    frame: Frame, energies: Floats, minima: Floats, n_children: int, rng: np.random.Generator
) -> tuple[Floats, Floats, int]:
    """Lower minima from changes of the lowest ones, round after round: many parameters are not met by chance at once.

    Returns:
        energies and minima of all rounds, ascending, and how many energies were computed.
    """
    from oreflow.agent.realisation.search_compiled import search

    n_energies = 0
    for _ in range(ROUNDS):
        _, different = np.unique(np.round(energies / int(frame.first[-1]), 3), return_index=True)
        parents = minima[different[:N_PARENTS][rng.integers(0, min(len(different), N_PARENTS), n_children)]]
        children = changed_points(frame, parents, rng)
        values, found, used = search(frame, children, n_children, 200)
        energies, minima = np.concatenate([energies, values]), np.concatenate([minima, found])
        order = np.argsort(energies, kind="stable")
        energies, minima, n_energies = energies[order], minima[order], n_energies + used
    return energies, minima, n_energies


def _ladder(decoration: Crystals, frame: Frame, n: int) -> list[Geometry]:
    """Distinct cells of the volume expected, whose ratios of axes are rungs of a ladder, no minima of any potential.

    Where the cell alone is free, pair potentials are often wrong about it: between metals they know the closest packing
    and no other one. The ranking energy then chooses among rungs.
    """
    from oreflow.agent.realisation.search_compiled import search

    rungs = np.arange(*_RUNGS)
    n_ratios = n_parameters(frame) - 1
    points = np.zeros((len(rungs) ** n_ratios, n_ratios + 1))
    points[:, :n_ratios] = np.stack(np.meshgrid(*[rungs] * n_ratios), axis=-1).reshape(-1, n_ratios)
    energies, points, _ = search(frame, points, len(points), 0)
    finite = np.isfinite(energies)
    energies = energies[finite] / int(frame.first[-1])
    return distinct_minima(decoration, frame, energies, points[finite], POTENTIALS[0], n)


def _reordered(crystal: Crystals, order: Ints) -> Crystals:
    """A batch of one with its sites in another order."""
    return Crystals(
        crystal.space_group,
        crystal.site_offsets,
        crystal.letter[order],
        crystal.atomic_number[order],
        crystal.lattice,
        crystal.parameters[order],
    )
