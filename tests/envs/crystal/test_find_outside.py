"""Given crystals that are not of a world: each reason has its code, and every code its case."""

from collections.abc import Sequence

import numpy as np
import pytest

from oreflow.envs.crystal.finding.outside import Outside
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.crystals import Crystals


def crystal(group: int, sites: Sequence[tuple[str, int, list[float]]], lattice: Sequence[float]) -> Crystals:
    """One crystal from (letter, atomic number, free coordinates) of its sites."""
    letters = np.array([ord(letter) - ord("a") for letter, _, _ in sites])
    numbers, free = np.array([z for _, z, _ in sites]), np.array([p + [0.0] * (3 - len(p)) for _, _, p in sites])
    return Crystals(np.array([group]), np.array([0, len(sites)]), letters, numbers, np.array([lattice]), free)


SALT = [("a", 11, []), ("b", 17, [])]
CUBE, BOX = [5.64] * 3 + [90.0] * 3, [4.0, 5.0, 6.0, 90.0, 90.0, 90.0]
ONE = [1.0, 1.0, 1.0, 90.0, 90.0, 90.0]
SALTS = {"space_groups": [2, 47, 123, 225], "elements": ("Na", "Cl", "Ti", "O"), "n_elements": (2, 3)}
MISSES = [
    (Outside.SPACE_GROUP, crystal(221, SALT, CUBE), {}),
    (Outside.POSITION, crystal(225, [("a", 11, []), ("m", 17, [])], CUBE), {}),
    (Outside.POSITION, crystal(225, [("a", 11, []), ("`", 17, [])], CUBE), {}),  # the letter before a
    (Outside.OCCUPIED_TWICE, crystal(225, [("a", 11, []), ("a", 17, [])], CUBE), {}),
    (Outside.ELEMENT, crystal(225, [("a", 19, []), ("b", 17, [])], CUBE), {}),
    (Outside.N_ATOMS, crystal(225, [("a", 11, []), ("b", 17, []), ("e", 17, [0.2])], CUBE), {}),
    (Outside.N_ATOMS, crystal(225, [("a", 11, [])], CUBE), {}),
    (
        Outside.N_ELEMENTS,
        crystal(47, [("a", 11, []), ("h", 17, []), ("d", 22, []), ("e", 8, [])], BOX),
        {"neutrality": "off"},
    ),
    (Outside.N_ELEMENTS, crystal(225, [("a", 11, []), ("b", 11, [])], CUBE), {}),
    (Outside.COMPOSITION, crystal(225, [("a", 17, []), ("b", 22, [])], CUBE), {"required": ("Na",)}),
    (Outside.NEUTRALITY, crystal(225, [("a", 11, []), ("c", 17, [])], CUBE), {}),
    (Outside.NO_GEOMETRY, crystal(225, SALT, [np.nan] * 6), {}),
    (Outside.NO_GEOMETRY, crystal(47, [("a", 11, []), ("i", 17, [np.nan])], BOX), {"neutrality": "off"}),
    (Outside.NO_GEOMETRY, crystal(47, [("a", 11, []), ("h", 17, [])], [4, 5, -6, 90, 90, 90]), {}),
    (Outside.CELL, crystal(225, SALT, [5.64, 5.64, 5.8, 90, 90, 90]), {}),
    (Outside.CELL, crystal(47, [("a", 11, []), ("h", 17, [])], [4, 5, 6, 90, 91, 90]), {}),
    (Outside.CELL, crystal(2, [("a", 11, []), ("h", 17, [])], [4, 5, 6, 20, 20, 100]), {}),  # no such angles
    (Outside.CELL, crystal(10, [("a", 11, []), ("h", 17, [])], [4, 5, 6, 90, 100, 91]), {"space_groups": [10, 225]}),
    (Outside.CELL, crystal(10, [("a", 11, []), ("h", 17, [])], [4, 5, 6, 91, 100, 90]), {"space_groups": [10, 225]}),
    (Outside.CELL, crystal(123, [("a", 11, []), ("d", 17, [])], [4, 4.2, 5, 90, 90, 90]), {}),
    (Outside.CELL, crystal(187, [("a", 11, []), ("d", 17, [])], [4, 4, 5, 90, 90, 90]), {"space_groups": [187, 225]}),
    (Outside.CELL, crystal(187, [("a", 11, []), ("d", 17, [])], [4, 4, 5, 90, 91, 120]), {"space_groups": [187, 225]}),
    (Outside.AXIS_RATIO, crystal(123, [("a", 11, []), ("d", 17, [])], [4, 4, 17, 90, 90, 90]), {}),
    (
        Outside.ANGLE,  # c/a so large that with bins of 10 degrees no angle is right
        crystal(2, [("a", 11, []), ("h", 17, [])], [3, 6, 27, 88, 90, 90]),
        {"angle_bin_deg": 10.0, "axis_ratio_max": 10.0},
    ),
    (Outside.VOLUME, crystal(225, SALT, [15.0] * 3 + [90.0] * 3), {}),
    (Outside.VOLUME, crystal(225, SALT, [2.0] * 3 + [90.0] * 3), {"min_contact": 0.0}),
    (Outside.TOO_CLOSE, crystal(225, SALT, [3.5] * 3 + [90.0] * 3), {}),
    (
        Outside.NO_ROOM,
        crystal(47, [("i", 11, [0.3 + 0.001 * k]) for k in range(6)] + [("a", 17, [])], [16, 5, 5, 90, 90, 90]),
        {"n_atoms": (1, 13), "neutrality": "off", "min_distance_a": 0.01, "min_contact": 0.0, "grid": 24},
    ),
]


@pytest.mark.parametrize(("code", "given", "changes"), MISSES, ids=[str(code) for code, _, _ in MISSES])
def test_each_reason_has_its_code(code: Outside, given: Crystals, changes: dict) -> None:
    space = SALTS | {"n_atoms": (2, 6), "volume_a3_per_atom": (4.0, 250.0), "axis_ratio_max": 4.0} | changes
    kernel = WyckoffKernel(WyckoffSpace(**space))
    fine = crystal(225, [("a", 11, []), ("b", 17, [])], CUBE)
    both = Crystals.concatenate([given, fine])
    states, inside, reasons = kernel.find(both)
    assert not inside[0]
    assert reasons[0] is not None
    assert reasons[0].startswith(f"{code}: expected "), reasons[0]
    assert not states[0].any()
    assert inside[1], reasons[1]
    assert reasons[1] is None
    assert kernel.is_terminal(states[1:]).all()


def test_every_reason_is_tested() -> None:
    assert {code for code, _, _ in MISSES} == set(Outside)


def test_prescribed_formulas() -> None:
    kernel = WyckoffKernel(WyckoffSpace(space_groups=[221], composition="SrTiO3", n_atoms=(5, 5)))
    cube = [3.905] * 3 + [90.0] * 3
    perovskite = crystal(221, [("a", 38, []), ("b", 22, []), ("c", 8, [])], cube)
    other = crystal(221, [("a", 38, []), ("b", 22, []), ("a", 8, [])], cube)
    swapped = crystal(221, [("a", 22, []), ("c", 38, []), ("b", 8, [])], cube)
    _, inside, reasons = kernel.find(Crystals.concatenate([perovskite, other, swapped]))
    assert inside.tolist() == [True, False, False]
    assert reasons[1] is not None
    assert reasons[1].startswith("occupied_twice")
    assert reasons[2] is not None
    assert reasons[2].startswith("composition")
    assert "TiOSr3" in reasons[2] or "OTiSr3" in reasons[2]
