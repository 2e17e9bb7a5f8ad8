"""Crystals as pymatgen structures, as labels, and as one line of text that holds everything."""

import numpy as np

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.letter_maps import letter_mappings
from oreflow.envs.symmetry.space_groups import SpaceGroup, space_group

_FAMILY = {
    "triclinic": "a",
    "monoclinic": "m",
    "orthorhombic": "o",
    "tetragonal": "t",
    "trigonal": "h",
    "hexagonal": "h",
    "cubic": "c",
}


def wyckoff_labels(crystals: Crystals) -> list[str]:
    """Space group and sites, such as "225: Na a, Cl b"; sites in order of letters, then of symbols."""
    labels = []
    for number, sites in sites_of(crystals):
        letters = space_group(number).letters
        named = [f"{symbol} {letters[letter]}" for letter, symbol in sorted(sites)]
        labels.append(f"{number}: {', '.join(named)}")
    return labels


def protostructure_labels(crystals: Crystals) -> list[str]:
    """Labels in the manner of AFLOW, such as "AB_cF8_225_a_b:Cl-Na".

    Elements stand in alphabetical order, with the letters that each occupies. Labelings that a change of origin or
    axes turns into one another get the same label: the first of them in the order of strings.
    """
    out = []
    for number, sites in sites_of(crystals):
        group = space_group(number)
        elements = sorted({symbol for _, symbol in sites})
        counts = [sum(int(group.multiplicity[letter]) for letter, s in sites if s == element) for element in elements]
        divisor = int(np.gcd.reduce(counts))
        anonymous = "".join(f"{chr(65 + i % 26)}{n // divisor if n > divisor else ''}" for i, n in enumerate(counts))
        letters = min(_occupied(group, sites, elements, mapping) for mapping in letter_mappings(number))
        out.append(f"{anonymous}_{pearson_symbol(group, sum(counts))}_{number}_{letters}:{'-'.join(elements)}")
    return out


def pearson_symbol(group: SpaceGroup, n_conventional: int) -> str:
    """Pearson's symbol, such as "cF8"; rhombohedral cells count the atoms of the primitive cell."""
    centring = "C" if group.centring in "ABC" else group.centring
    n_atoms = n_conventional // 3 if centring == "R" else n_conventional
    return f"{_FAMILY[group.crystal_system]}{centring}{n_atoms}"


def _occupied(group: SpaceGroup, sites: list[tuple[int, str]], elements: list[str], mapping: tuple[int, ...]) -> str:
    parts = []
    for element in elements:
        letters = [group.letters[mapping[letter]] for letter, symbol in sites if symbol == element]
        counted = [(letter, letters.count(letter)) for letter in sorted(set(letters), key=group.letters.index)]
        parts.append("".join(f"{n if n > 1 else ''}{letter}" for letter, n in counted))
    return "_".join(parts)


def sites_of(crystals: Crystals) -> list[tuple[int, list[tuple[int, str]]]]:
    """List the space group, and letter and symbol of each site, by crystal."""
    names = symbols()
    letters, numbers = crystals.letter.tolist(), [names[z] for z in crystals.atomic_number.tolist()]
    bounds = crystals.site_offsets.tolist()
    return [
        (number, list(zip(letters[start:end], numbers[start:end])))
        for number, start, end in zip(crystals.space_group.tolist(), bounds[:-1], bounds[1:])
    ]
