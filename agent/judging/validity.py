"""Validity of structures as LeMat-GenBench defines it, and SMACT's rule beside it.

LeMat-GenBench (arXiv 2512.04562; `validity_metrics.py` of its repository, read 2026-11) calls a structure valid that is
neutral, has no atoms too close, and is plausible. Re-implemented from that definition, with two differences: where
neither SMACT's metallicity nor bond valences decide about the charge, the benchmark guesses oxidation states from a
table of its own, here they are pymatgen's states seen in the ICSD; and oxidation states of the last resort must order
by electronegativity, where the benchmark asks for a negative correlation. The coordination environment, which its
documentation lists, is no part of its verdict, nor of this one.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.agent.judging.inputs import formula_keys
from oreflow.agent.judging.metallicity import metallicity_scores
from oreflow.agent.relaxation.symmetry import DESIGN_TOLERANCE_A, space_group_number
from oreflow.envs.arrays import Bools
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance
from oreflow.rewards.terms.composition.smact_validity import SmactValidity

LEMAT = "LeMat-GenBench's definition (arXiv 2512.04562), oxidation states of pymatgen's ICSD table"
SMACT = f"smact_validity with its defaults ({SmactValidity.version})"
_METALLIC = 0.7
_SCALE, _ADDED_A, _UNKNOWN_RADIUS_A = 0.5, 0.7, 1.0
_MASS_DENSITY_G_PER_CM3 = (0.01, 25.0)
_ATOMS_PER_A3 = (0.00001, 0.5)
_LEAST_VOLUME_A3 = 1.0
_EDGES_A = (1.0, 100.0)
_NO_BOND_VALENCE = 1e-15


@dataclass(frozen=True)
class Validity:
    """Verdicts, each bool [structure]; False where there is no structure.

    Attributes:
        neutral, distances, plausible: the three parts of LeMat-GenBench's verdict.
        smact: SMACT's rule, of the formula.
    """

    neutral: Bools
    distances: Bools
    plausible: Bools
    smact: Bools

    @property
    def valid(self) -> Bools:
        """LeMat-GenBench's verdict: all three parts."""
        return self.neutral & self.distances & self.plausible


def validity(structures: Sequence[Any]) -> Validity:
    """Judge pymatgen structures; None stands for one that is missing."""
    n = len(structures)
    verdicts = {name: np.zeros(n, dtype=np.bool_) for name in ("neutral", "distances", "plausible", "smact")}
    given = [place for place, structure in enumerate(structures) if structure is not None]
    if given:
        present = [structures[place] for place in given]
        batch = Compositions.from_dicts([dict(key) for key in formula_keys(present, [""] * len(present))])
        smact = SmactValidity()(batch)
        verdicts["neutral"][given] = neutral(present, batch)
        verdicts["distances"][given] = [has_distances(structure) for structure in present]
        verdicts["plausible"][given] = [is_plausible(structure) for structure in present]
        verdicts["smact"][given] = smact.valid & (smact.values == 1)
    return Validity(**verdicts)


def neutral(structures: Sequence[Any], batch: Compositions) -> Bools:
    """Whether each structure is metallic, or has oxidation states that sum to zero; bool [batch].

    In the benchmark's order: metallic by SMACT's score above 0.7 or without bond valences; oxidation states by bond
    valence; by composition, of common states; by composition, of all states, ordered by electronegativity. As any of
    them is enough, the dear ones come last.
    """
    found = metallicity_scores(batch) > _METALLIC
    common = ChargeBalance("pymatgen_icsd", mixed_valence=True)(batch)
    ordered = ElectronegativityBalance("pymatgen_all", mixed_valence=True)(batch)
    found |= (common.valid & (common.values == 0)) | (ordered.valid & (ordered.values == 1))
    for place in np.flatnonzero(~found).tolist():
        found[place] = _without_bond_valence(structures[place]) or _has_bond_valence_states(structures[place])
    return found


def _without_bond_valence(structure: Any) -> bool:
    from pymatgen.analysis.bond_valence import calculate_bv_sum
    from pymatgen.analysis.local_env import get_neighbors_of_site_with_index

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return all(
                abs(calculate_bv_sum(structure[i], get_neighbors_of_site_with_index(structure, i))) < _NO_BOND_VALENCE
                for i in range(len(structure))
            )
    except (KeyError, ValueError, TypeError, IndexError, ZeroDivisionError):  # elements without parameters
        return False


def _has_bond_valence_states(structure: Any) -> bool:
    from pymatgen.analysis.bond_valence import BVAnalyzer

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            states = BVAnalyzer().get_valences(structure)
    except (KeyError, ValueError, TypeError, IndexError):
        return False
    return bool(np.isclose(np.sum(states), 0.0))


def has_distances(structure: Any) -> bool:
    """Whether all pairs of sites are at least half of (0.7 angstrom + the sum of their atomic radii) apart."""
    if len(structure) < 2:
        return True
    radii = np.array([float(site.specie.atomic_radius or _UNKNOWN_RADIUS_A) for site in structure])
    least = _SCALE * (_ADDED_A + radii[:, None] + radii[None, :])
    first, second = np.triu_indices(len(structure), 1)
    return bool((structure.distance_matrix >= least)[first, second].all())


def is_plausible(structure: Any) -> bool:
    """Whether density, cell, CIF and space group are what a crystal can have."""
    from pymatgen.io.cif import CifWriter

    lattice = structure.lattice
    n_per_a3 = len(structure) / lattice.volume if lattice.volume > 0 else np.inf
    if not (
        _MASS_DENSITY_G_PER_CM3[0] <= float(structure.density) <= _MASS_DENSITY_G_PER_CM3[1]
        and _ATOMS_PER_A3[0] <= n_per_a3 <= _ATOMS_PER_A3[1]
        and lattice.volume > _LEAST_VOLUME_A3
        and all(_EDGES_A[0] <= edge <= _EDGES_A[1] for edge in lattice.abc)
        and all(0 < angle < 180 for angle in lattice.angles)
    ):
        return False
    try:
        str(CifWriter(structure))
    except (TypeError, ValueError):
        return False
    numbers = np.asarray(structure.atomic_numbers)
    return space_group_number(lattice.matrix, structure.frac_coords, numbers, DESIGN_TOLERANCE_A) > 0
