"""How one structure is relaxed: with its symmetry held, and free after a rattle."""

import hashlib
import importlib.metadata
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.listing import listed
from oreflow.rewards.potential.protocol import Cell
from oreflow.rewards.potential.relax import Relaxation
from oreflow.rewards.potential.relax import relax as relaxation
from oreflow.rewards.registry import load_plugin

Track = Literal["both", "held", "free"]
TRACKS: tuple[str, ...] = get_args(Track)
# Near a saddle forces are small: with those of the first relaxation for a limit the second would stop there.
_FREE_FMAX = 0.2


@dataclass(frozen=True)
class Settings:
    """How structures are relaxed.

    Attributes:
        potential: its name, as `rewards.potential.listing` has it.
        track: "held" moves what keeps the symmetry of a structure; "free" displaces its atoms at random and then moves
            all; "both" does the second after the first.
        fmax: eV/angstrom, the largest force of a relaxed structure.
        steps: of the optimiser, at most.
        rattle_a: angstrom, standard deviation of the displacements; 0 leaves the free track out.
        rattle_strain: standard deviation of the components of the strain beside it.
        plugins: files that bring potentials.
    """

    potential: str = "chgnet"
    fmax: float = 0.1
    steps: int = 500
    rattle_a: float = 0.05
    rattle_strain: float = 0.01
    track: Track = "both"
    plugins: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """These and the version of the potential, as the journal keeps them."""
        found, record = listed(self.potential), asdict(self)
        del record["plugins"]  # their place does not matter, but what stands in them
        if found.package:
            record["package"] = f"{found.package} {importlib.metadata.version(found.package)}"
        elif self.plugins:
            digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] for path in self.plugins]
            record["package"] = " ".join(digests)
        return record | {"potential_version": found.card.version}


def make_relaxer(settings: Settings, time_limit_s: float) -> Callable[[Any], dict[str, Any]]:
    """A function that relaxes one structure, given as vectors, symbols and fractional coordinates.

    Forces that would break a symmetry vanish where it holds, so the held track says nothing of whether it is stable.
    The free one begins at its end, or without it at the structure, with displaced atoms and a strained cell.
    """
    import torch

    from oreflow.envs.chemistry.elements import atomic_number

    torch.set_num_threads(1)
    for path in settings.plugins:
        load_plugin(path)
    potential = listed(settings.potential).load()

    def free(vectors: Floats, numbers: Any, fractional: Floats, left_s: float) -> Relaxation:
        shaken, moved = rattled(vectors, fractional, settings.rattle_a, settings.rattle_strain)
        return relaxation(
            potential,
            Cell(shaken, moved, numbers),
            hold_symmetry=False,
            fmax=settings.fmax * _FREE_FMAX,
            steps=settings.steps,
            time_limit_s=left_s,
        )

    def relax(task: tuple[Any, list[str], Any]) -> dict[str, Any]:
        vectors, fractional = np.asarray(task[0]), np.asarray(task[2])
        numbers = np.array([atomic_number(symbol) for symbol in task[1]], dtype=np.int64)
        started = time.monotonic()
        if settings.track == "free":
            end = _plain(free(vectors, numbers, fractional, time_limit_s))
            return {"status": end["status"], "reason": end["reason"], "free": end}
        held = relaxation(
            potential,
            Cell(vectors, fractional, numbers),
            hold_symmetry=True,
            fmax=settings.fmax,
            steps=settings.steps,
            time_limit_s=time_limit_s,
        )
        record = _plain(held)
        if settings.track == "both" and settings.rattle_a > 0 and held.status in ("converged", "not_converged"):
            left_s = max(time_limit_s - (time.monotonic() - started), 0.0)
            try:
                record["free"] = _plain(free(held.vectors, numbers, held.fractional, left_s))
            except PotentialError as error:
                record["free"] = {"status": "failed", "reason": str(error)}
        return record

    return relax


def rattled(vectors: Floats, fractional: Floats, rattle_a: float, strain: float) -> tuple[Floats, Floats]:
    """Displace atoms and strain the cell at random, the same way for the same structure.

    Args:
        vectors, fractional: the structure, float64 [3, 3] and [atom, 3].
        rattle_a: standard deviation of each Cartesian displacement, angstrom.
        strain: standard deviation of each component of a symmetric strain.
    """
    digest = hashlib.sha256(np.ascontiguousarray(np.round(fractional, 6)).tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    epsilon = rng.normal(0.0, strain, (3, 3))
    strained = vectors @ (np.eye(3) + (epsilon + epsilon.T) / 2)
    moved = fractional + rng.normal(0.0, rattle_a, fractional.shape) @ np.linalg.inv(strained)
    return strained, moved


def _plain(end: Relaxation) -> dict[str, Any]:
    """What JSON holds."""
    return {key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in asdict(end).items()}
