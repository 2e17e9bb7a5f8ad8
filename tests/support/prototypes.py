"""Known structure types, from their published cells: space group, occupied positions, and a pymatgen structure."""

from typing import Any, NamedTuple

from pymatgen.core import Lattice, Structure


class Prototype(NamedTuple):
    """Name, space group, label as `wyckoff_labels` gives it up to the choice of origin, and protostructure."""

    name: str
    space_group: int
    n_conventional: int
    protostructure: str
    structure: Any


def from_group(symbol: str | int, lattice: Lattice, species: list[str], coordinates: list[list[float]]) -> Structure:
    """From one point of each orbit; pymatgen's own tables of operations expand it."""
    return Structure.from_spacegroup(symbol, lattice, species, coordinates)


def prototypes() -> list[Prototype]:
    cubic, hexagonal, tetragonal = Lattice.cubic, Lattice.hexagonal, Lattice.tetragonal
    third, quarter = 1 / 3, 0.25
    return [
        Prototype(
            "rock salt",
            225,
            8,
            "AB_cF8_225_a_b:Cl-Na",
            from_group("Fm-3m", cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        ),
        Prototype(
            "zinc blende",
            216,
            8,
            "AB_cF8_216_a_c:S-Zn",
            from_group("F-43m", cubic(5.41), ["Zn", "S"], [[0, 0, 0], [quarter] * 3]),
        ),
        Prototype(
            "fluorite",
            225,
            12,
            "AB2_cF12_225_a_c:Ca-F",
            from_group("Fm-3m", cubic(5.46), ["Ca", "F"], [[0, 0, 0], [quarter] * 3]),
        ),
        Prototype(
            "rutile",
            136,
            6,
            "A2B_tP6_136_f_a:O-Ti",
            from_group("P4_2/mnm", tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.3053, 0.3053, 0]]),
        ),
        Prototype(
            "perovskite",
            221,
            5,
            "A3BC_cP5_221_c_a_b:O-Sr-Ti",
            from_group("Pm-3m", cubic(3.905), ["Sr", "Ti", "O"], [[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0]]),
        ),
        Prototype(
            "spinel",
            227,
            56,
            "A2BC4_cF56_227_c_b_e:Al-Mg-O",
            # Origin choice 1 of pymatgen's operations: the tetrahedral site is at the origin.
            from_group("Fd-3m", cubic(8.083), ["Mg", "Al", "O"], [[0, 0, 0], [0.625] * 3, [0.3873] * 3]),
        ),
        Prototype(
            "wurtzite",
            186,
            4,
            "AB_hP4_186_b_b:S-Zn",
            from_group(
                "P6_3mc", hexagonal(3.82, 6.26), ["Zn", "S"], [[third, 2 * third, 0], [third, 2 * third, 0.3748]]
            ),
        ),
        Prototype("diamond", 227, 8, "A_cF8_227_a:C", from_group("Fd-3m", cubic(3.567), ["C"], [[0, 0, 0]])),
        Prototype(
            "hcp",
            194,
            2,
            "A_hP2_194_c:Mg",
            from_group("P6_3/mmc", hexagonal(3.21, 5.21), ["Mg"], [[third, 2 * third, quarter]]),
        ),
        Prototype(
            "alpha quartz",
            154,
            9,
            "A2B_hP9_154_c_a:O-Si",
            from_group(
                "P3_221", hexagonal(4.913, 5.405), ["Si", "O"], [[0.4697, 0, 2 * third], [0.4135, 0.2669, 0.7858]]
            ),
        ),
        Prototype(
            "pyrite",
            205,
            12,
            "AB2_cP12_205_a_c:Fe-S",
            from_group("Pa-3", cubic(5.417), ["Fe", "S"], [[0, 0, 0], [0.3851] * 3]),
        ),
        Prototype(
            "corundum",
            167,
            30,
            "A2B3_hR10_167_c_e:Al-O",
            from_group("R-3c", hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.3522], [0.3063, 0, quarter]]),
        ),
        Prototype(
            "calcite",
            167,
            30,
            "ABC3_hR10_167_a_b_e:C-Ca-O",
            from_group(
                "R-3c", hexagonal(4.99, 17.06), ["Ca", "C", "O"], [[0, 0, 0], [0, 0, quarter], [0.2568, 0, quarter]]
            ),
        ),
        Prototype(
            "baddeleyite",
            14,
            12,
            "A2B_mP12_14_2e_e:O-Zr",
            from_group(
                "P2_1/c",
                Lattice.monoclinic(5.151, 5.212, 5.317, 99.23),
                ["Zr", "O", "O"],
                [[0.2754, 0.0395, 0.2083], [0.0700, 0.3317, 0.3447], [0.4496, 0.7569, 0.4792]],
            ),
        ),
    ]
