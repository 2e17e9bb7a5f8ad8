"""The term `corner_sharing` on known structures, and against neighbours as pymatgen lists them."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from oreflow.envs.arrays import Floats
from oreflow.envs.objects.atoms import Atoms
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.structure.octahedra import CornerSharing


def cells(*structures: Structure) -> Atoms:
    offsets = np.cumsum([0, *(len(structure) for structure in structures)])
    return Atoms(
        np.array([structure.lattice.matrix for structure in structures]),
        offsets,
        np.concatenate([structure.atomic_numbers for structure in structures]).astype(np.int16),
        np.concatenate([structure.frac_coords for structure in structures]),
        np.arange(offsets[-1]),
    )


def of(group: str, lattice: Lattice, species: list[str], at: list[list[float]]) -> Structure:
    return Structure.from_spacegroup(group, lattice, species, at)


KNOWN = {
    # Lattice parameters and coordinates as in the Inorganic Crystal Structure Database's standard entries.
    "SrTiO3": (of("Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]), 1.0, "Ti"),
    "CaTiO3": (
        of(
            "Pnma",
            Lattice.orthorhombic(5.442, 7.640, 5.380),
            ["Ca", "Ti", "O", "O"],
            [[0.0360, 0.25, -0.0070], [0, 0, 0.5], [0.4840, 0.25, 0.0710], [0.2890, 0.0370, -0.2890]],
        ),
        1.0,
        "Ti",
    ),
    "PbTiO3": (
        of(
            "P4mm",
            Lattice.tetragonal(3.904, 4.152),
            ["Pb", "Ti", "O", "O"],
            [[0, 0, 0], [0.5, 0.5, 0.539], [0.5, 0.5, 0.114], [0.5, 0, 0.617]],
        ),
        1.0,
        "Ti",
    ),
    "ReO3": (of("Pm-3m", Lattice.cubic(3.734), ["Re", "O"], [[0] * 3, [0.5, 0, 0]]), 1.0, "Re"),
    "MgO": (of("Fm-3m", Lattice.cubic(4.212), ["Mg", "O"], [[0] * 3, [0.5] * 3]), 0.0, ""),
    "TiO2": (of("P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0] * 3, [0.305, 0.305, 0]]), 0.0, ""),
    "BaNiO3": (
        of(
            "P6_3/mmc",
            Lattice.hexagonal(5.580, 4.832),
            ["Ba", "Ni", "O"],
            [[1 / 3, 2 / 3, 0.75], [0, 0, 0], [0.1462, 0.2924, 0.25]],
        ),
        0.0,
        "",
    ),
    "FeTiO3": (
        of(
            "R-3",
            Lattice.hexagonal(5.088, 14.085),
            ["Fe", "Ti", "O"],
            [[0, 0, 0.3554], [0, 0, 0.1464], [0.3174, 0.0233, 0.2451]],
        ),
        0.0,
        "",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_structures(name: str) -> None:
    structure, expected, centre = KNOWN[name]
    result = CornerSharing()(cells(structure))
    assert result.values[0] == pytest.approx(expected)
    assert result.columns["corner_sharing_centre"][0] == centre


def by_pymatgen(structure: Structure, tolerance: float) -> float:
    """The docstring's rule, with neighbours listed by pymatgen."""
    chi = {site.specie.symbol: site.specie.X for site in structure}
    ligand = max(chi, key=lambda symbol: chi[symbol])
    best = 0.0
    for element in chi.keys() - {ligand}:
        found = []
        for centre in (site for site in structure if site.specie.symbol == element):
            near = [n for n in structure.get_neighbors(centre, 12.0) if n.specie.symbol == ligand]
            reach = tolerance * min(n.nn_distance for n in near)
            near = [n for n in near if n.nn_distance <= reach]
            leads: list[list[Floats]] = []
            for corner in near:
                others = structure.get_sites_in_sphere(corner.coords, reach)
                leads.append([o.coords for o in others if o.specie.symbol == element])
            to = [
                next((c for c in lead if np.linalg.norm(c - centre.coords) > 0.3), None) if len(lead) == 2 else None
                for lead in leads
            ]
            alone = [
                t is not None and all(o is None or np.linalg.norm(t - o) > 0.3 for k, o in enumerate(to) if k != place)
                for place, t in enumerate(to)
            ]
            found.append(sum(alone) / max(len(near), 6))
        best = max(best, float(np.mean(found)))
    return best


def test_random_cells_agree_with_pymatgen() -> None:
    rng = np.random.default_rng(0)
    structures, expected = [], []
    for number in range(60):
        if number % 2:
            structure = KNOWN["CaTiO3"][0].copy()
            structure.perturb(0.4, seed=number)
            structure.apply_strain(rng.uniform(-0.05, 0.05, 3))
        else:
            lattice = Lattice.from_parameters(*rng.uniform(3, 6, 3), *rng.uniform(60, 120, 3))
            structure = Structure(lattice, ["Sr", "Ti", "Ti", *["O"] * 4], rng.random((7, 3)))
        structures.append(structure)
        expected.append(by_pymatgen(structure, 1.4))
    values = CornerSharing()(cells(*structures)).values
    np.testing.assert_allclose(values, expected, atol=1e-9)
    assert len({round(v, 3) for v in values.tolist()}) > 8


def test_what_has_no_value_says_why() -> None:
    one = Structure(Lattice.cubic(3.0), ["Fe"], [[0, 0, 0]])
    noble = Structure(Lattice.cubic(3.0), ["He", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    result = CornerSharing()(cells(one, noble, KNOWN["SrTiO3"][0]))
    assert result.valid.tolist() == [False, False, True]
    assert result.reasons[0].startswith("one element alone")
    assert result.reasons[1] == "no electronegativity of He"


def test_it_is_a_sound_term() -> None:
    check_reward_term(make_term("corner_sharing"))
    with pytest.raises(RewardParameterError, match="tolerance from 1 to 2, got 3"):
        CornerSharing(tolerance=3)
