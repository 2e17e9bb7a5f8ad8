"""The term `prototype_match`: the prototypes of the perovskites config on crystals built from tilts, and an oracle."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import yaml
from pymatgen.core import Lattice, Structure

from oreflow.agent.sampling.trained_run import open_prior
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import sites_of
from oreflow.envs.structure_io.encode import encode_structure
from oreflow.envs.symmetry.letter_maps import letter_mappings
from oreflow.envs.symmetry.space_groups import space_group
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.structure.prototype_match import PrototypeMatch
from tests.support.repository import ROOT

CONFIG = ROOT / "runs" / "configs" / "perovskites.yaml"
ANGLES = {"a": 5.0, "b": 7.0, "c": 9.0}
TILTS = {  # of Howard and Stokes, Acta Cryst. B54, 782 (1998), table 1; 137 has forty atoms and is left out
    221: "a0a0a0",
    127: "a0a0c+",
    140: "a0a0c-",
    74: "a0b-b-",
    12: "a0b-c-",
    139: "a0b+b+",
    63: "a0b+c-",
    204: "a+a+a+",
    71: "a+b+c+",
    62: "a+b-b-",
    11: "a+b-c-",
    167: "a-a-a-",
    15: "a-b-b-",
    2: "a-b-c-",
}
POLAR = {  # tilts, and by how much B is off centre, in edges of the cubic cell
    99: ("a0a0c0", (0.0, 0.0, 0.03)),
    38: ("a0a0a0", (0.0, 0.03, 0.03)),
    160: ("a0a0a0", (0.03, 0.03, 0.03)),
    161: ("a-a-a-", (0.03, 0.03, 0.03)),
    33: ("a+b-b-", (0.03, 0.0, 0.0)),
}


def perovskite(tilt: str, off_centre: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Structure:
    """SrTiO3 of eight formula units, its octahedra turned by a few degrees as Glazer's symbol says."""
    signs = tilt[1::2]
    angles = [0.0 if sign == "0" else np.radians(ANGLES[letter]) for letter, sign in zip(tilt[::2], signs)]
    edges = [4 + 0.04 * "abc".index(tilt[2 * i]) + {"+": 0.008, "-": 0.0, "0": 0.02}[signs[i]] for i in range(3)]
    species, at = [], []
    for place in np.ndindex(2, 2, 2):
        turn = [
            angle * (-1.0) ** (sum(place) - (place[axis] if sign == "+" else 0))
            for axis, (angle, sign) in enumerate(zip(angles, signs))
        ]
        species += ["Ti", "Sr", "O", "O", "O"]
        at += [place + np.array(off_centre), np.array(place) + 0.5]
        at += [place + bond + np.cross(turn, bond) for bond in np.eye(3) / 2]
    return Structure(Lattice.orthorhombic(*(2 * edge for edge in edges)), species, np.array(at) / 2)


def configured() -> PrototypeMatch:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (params,) = [term["params"] for term in config["reward"]["terms"] if term["name"] == "prototype_match"]
    term = make_term("prototype_match", params)
    inner = term.unwrapped if hasattr(term, "unwrapped") else term
    assert isinstance(inner, PrototypeMatch)
    return inner


@pytest.mark.parametrize("number", [*TILTS, *POLAR])
def test_prototypes_of_the_perovskites_config_are_tilted_frameworks_of_octahedra(number: int) -> None:
    tilt, off_centre = POLAR.get(number, (TILTS.get(number, ""), (0.0, 0.0, 0.0)))
    crystal = encode_structure(perovskite(tilt, off_centre), symprec=1e-3)
    assert crystal.space_group.tolist() == [number]
    found = configured()(crystal)
    assert found.values.tolist() == [1.0]
    assert found.columns["prototype_match_prototype"][0].startswith(f"{number}: ")
    assert make_term("corner_sharing")(crystal).values.tolist() == [1.0]


def test_prototypes_of_the_config_are_one_or_two_of_each_of_its_space_groups() -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    counts = Counter(prototype.number for prototype in configured().prototypes)
    assert counts == {number: 2 if number == 194 else 1 for number in config["world"]["space_groups"]}


def test_the_stackings_are_those_of_barium_nickelate_and_barium_ruthenate() -> None:
    two = Structure.from_spacegroup(
        "P6_3/mmc",
        Lattice.hexagonal(5.58, 4.832),
        ["Ba", "Ni", "O"],
        [[1 / 3, 2 / 3, 0.75], [0, 0, 0], [0.1462, 0.2924, 0.25]],
    )
    four = Structure.from_spacegroup(  # Ba at the layers of O, Ru within pairs of octahedra that share a face
        "P6_3/mmc",
        Lattice.hexagonal(5.729, 9.5),
        ["Ba", "Ba", "Ru", "O", "O"],
        [[0, 0, 0], [1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.616], [0.5, 0, 0], [0.186, 0.372, 0.25]],
    )
    for structure in (two, four):
        crystal = encode_structure(structure, symprec=1e-3)
        assert crystal.space_group.tolist() == [194]
        assert configured()(crystal).values.tolist() == [1.0]


def test_roles_say_which_element_may_sit_where() -> None:
    crystal = encode_structure(perovskite("a0a0a0"), symprec=1e-3)
    everywhere = PrototypeMatch(["221: B@1a A@1b X@3d"])
    exchanged = PrototypeMatch(["221: B@1b A@1a X@3c"])  # another choice of the origin
    assert everywhere(crystal).values.tolist() == exchanged(crystal).values.tolist() == [1.0]
    not_barium = PrototypeMatch(["221: B@1a A@1b X@3d"], {"A": ["Ba", "lanthanides"]})
    assert not_barium(crystal).values.tolist() == [0.8]  # Ti and O stay
    turned = PrototypeMatch(["221: B@1a A@1b X@3d"], {"A": ["Ti"], "B": ["Sr"]})
    assert turned(crystal).values.tolist() == [0.6]  # Sr in octahedra leaves none to O, which sits beside Ti
    assert PrototypeMatch(["225: A@4a B@4b"])(crystal).values.tolist() == [0.0]


def brute_force(crystal: Any, prototypes: list[tuple[int, dict[str, list[str]]]]) -> float:
    """The largest share over all prototypes, choices of origin and axes, and castings of elements."""
    best = 0.0
    ((number, sites),) = sites_of(crystal)
    group = space_group(number)
    elements = sorted({symbol for _, symbol in sites})
    n_atoms = sum(group.multiplicity[letter] for letter, _ in sites)
    for other, roles in prototypes:
        if other != number:
            continue
        names = sorted(roles)
        size = sum(group.multiplicity[group.letters.index(letter)] for letters in roles.values() for letter in letters)
        padded = elements + [""] * (len(names) - len(elements))
        for mapping in letter_mappings(number):
            for cast in set(itertools.permutations(padded, len(names))):
                matched = 0
                for role, element in zip(names, cast):
                    mine = Counter(group.letters[mapping[letter]] for letter, symbol in sites if symbol == element)
                    for letter, n in (mine & Counter(roles[role])).items():
                        matched += n * int(group.multiplicity[group.letters.index(letter)])
                best = max(best, matched / max(n_atoms, size))
    return best


def test_shares_are_those_of_brute_force() -> None:
    prior, rng = open_prior("decorations"), np.random.default_rng(0)
    drawn = prior.kernel.objects(prior.sampler.draw(400, rng))
    assert isinstance(drawn, Crystals)
    drawn = drawn[drawn.space_group > 2]
    prototypes, texts = [], []
    for row in range(0, len(drawn), 4):  # a quarter of the crystals are the prototypes of all
        ((number, sites),) = sites_of(drawn[row : row + 1])
        letters = space_group(number).letters
        roles: dict[str, list[str]] = {}
        for letter, symbol in sites:
            roles.setdefault(symbol, []).append(letters[letter])
        prototypes.append((number, roles))
        texts.append(f"{number}: " + " ".join(f"{role}@{letter}" for role in roles for letter in roles[role]))
    values = PrototypeMatch(texts)(drawn).values
    expected = [brute_force(drawn[row : row + 1], prototypes) for row in range(len(drawn))]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)
    assert (values[::4] == 1).all()
    assert ((values > 0) & (values < 1)).sum() > 10


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prototypes": []}, "expected prototypes as a list"),
        ({"prototypes": ["221"]}, "expected a space group and roles on its positions"),
        ({"prototypes": ["221: B@1a A"]}, "cannot read 'A'"),
        ({"prototypes": ["221: B@2a"]}, "position a of space group 221 has multiplicity 1, not 2"),
        ({"prototypes": ["1: B@1b"]}, "space group 1 has no position 'b'"),
        ({"prototypes": ["999: B@1b"]}, "999"),
        ({"prototypes": ["221: B@1a"], "roles": {"C": ["Ti"]}}, "no prototype has 'C'"),
        ({"prototypes": ["221: B@1a"], "roles": {"B": ["Xx"]}}, "'Xx'"),
        ({"prototypes": ["221: B@1a"], "roles": ["B"]}, "expected roles such as"),
    ],
)
def test_what_cannot_be_read_is_said(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardParameterError, match=message.replace("(", r"\(")):
        PrototypeMatch(**params)
