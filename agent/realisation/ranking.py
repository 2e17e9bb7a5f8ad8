"""Energies that decide which geometries of a decoration are the best."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from oreflow.agent.realisation.geometries import Rank
from oreflow.envs.arrays import Floats
from oreflow.rewards.errors import PotentialError

RANKS = ("chgnet", "contacts")


def default_rank() -> str:
    """By CHGNet where it is installed, else by the pair potentials."""
    return "contacts" if importlib.util.find_spec("chgnet") is None else "chgnet"


def ranking(name: str) -> Rank | None:
    """What ranks geometries; None for the pair potentials, which the search has computed.

    Raises:
        ValueError: for another name.
        MissingPackageError: when chgnet is not installed.
    """
    if name not in RANKS:
        raise ValueError(f"expected --rank to be {' or '.join(RANKS)}, got {name!r}")
    if name == "contacts":
        return None
    from oreflow.rewards.potential.listing import require_potential
    from oreflow.rewards.potential.protocol import energies_per_atom

    potential = require_potential("chgnet", "--rank chgnet").load()

    def rank(structures: Sequence[Any]) -> Floats:
        try:
            return energies_per_atom(potential, structures)
        except PotentialError:  # of one of them: it alone goes without an energy
            return np.array([_one(structure) for structure in structures])

    def _one(structure: Any) -> float:
        try:
            return float(energies_per_atom(potential, [structure])[0])
        except PotentialError:
            return float("nan")

    return rank
