"""A world within a larger one: the same actions lead to the same states, and tokens say the same."""

from typing import Any

import numpy as np
import pytest

from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.inclusion import Includable
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace

COMPOSITIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fewer elements, counts and atoms under a charge rule": (
        {"elements": ("Li", "Fe", "P", "O"), "n_elements": (2, 3), "n_atoms": (2, 9), "count": (1, 4)},
        {"neutrality": "off", "n_elements": (1, 5), "n_atoms": (1, 20), "count": (1, 12)},
    ),
    "the same world, which tells of charges": (
        {"elements": ("Li", "Mn", "O"), "neutrality": "soft", "n_elements": (2, 3), "n_atoms": (2, 8)},
        {"elements": ("Li", "Mn", "O"), "neutrality": "soft", "n_elements": (2, 3), "n_atoms": (2, 8)},
    ),
    "counts from two": (
        {"elements": ("Na", "Cl", "O"), "count": (2, 5), "neutrality": "off", "n_elements": (2, 2)},
        {"elements": ("H", "O", "Na", "Cl"), "count": (1, 6), "neutrality": "off"},
    ),
}
CRYSTALS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "fewer groups, with a geometry": (
        {"space_groups": (62, 139, 221, 225), "elements": ("Sr", "Ti", "O"), "n_atoms": (2, 8), "grid": 24},
        {
            "space_groups": (12, 62, 123, 139, 166, 221, 225),
            "elements": ("O", "Mg", "Ti", "Sr"),
            "neutrality": "off",
            "geometry": False,
            "n_elements": (1, 4),
        },
    ),
    "a prescribed formula": (
        {"space_groups": (62, 221), "composition": "SrTiO3", "n_atoms": (5, 10), "geometry": False},
        {"space_groups": (62, 99, 221), "elements": ("O", "Ti", "Sr", "Ba"), "neutrality": "off", "geometry": False},
    ),
}


def kernels(kind: str, name: str) -> tuple[Any, Any]:
    if kind == "composition":
        return tuple(CompositionKernel(CompositionSpace(**fields)) for fields in COMPOSITIONS[name])  # type: ignore[return-value]
    return tuple(WyckoffKernel(WyckoffSpace(**fields)) for fields in CRYSTALS[name])  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("kind", "name"), [*(("composition", n) for n in COMPOSITIONS), *(("crystal", n) for n in CRYSTALS)]
)
def test_random_walks_are_walks_of_the_larger_world(kind: str, name: str) -> None:
    ours, theirs = kernels(kind, name)
    assert isinstance(ours, Includable)
    inclusion = ours.included_in(theirs)
    rng = np.random.default_rng(0)
    states, n_seen, n_finished = ours.initial(200), 0, 0
    while len(states):
        allowed = ours.forward_allowed(states)
        actions = (rng.random(allowed.shape) * allowed).argmax(axis=1)
        after, there = ours.step(states, actions), inclusion.states(states)
        moved = inclusion.actions[actions]
        builds = moved >= 0
        assert theirs.forward_allowed(there)[builds, moved[builds]].all()
        expected = there.copy()
        expected[builds] = theirs.step(there[builds], moved[builds])
        np.testing.assert_array_equal(inclusion.states(after), expected)
        _tokens_say_the_same(ours, theirs, inclusion, states[builds], there[builds])
        n_seen += int(builds.sum())
        done = ours.is_terminal(after)
        n_finished += int(done.sum())
        assert theirs.is_terminal(inclusion.states(after))[done].all()
        states = after[~done]
    assert n_finished == 200
    assert n_seen > 400


def _tokens_say_the_same(ours: Any, theirs: Any, inclusion: Any, states: Any, there: Any) -> None:
    """Every token of the larger world comes from one here; what has no counterpart tells of charges or a geometry."""
    for mine, wanted in zip(ours.encode(states).tolist(), theirs.encode(there).tolist()):
        moved = sorted(int(inclusion.tokens[t]) for t in mine if t < ours.n_tokens and inclusion.tokens[t] >= 0)
        assert moved == sorted(t for t in wanted if t < theirs.n_tokens)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"elements": ("Li", "Ac", "O")}, {"elements": ("Li", "O")}, "this world has the element Ac"),
        ({"n_elements": (2, 4)}, {"n_elements": (2, 3)}, "n_elements from 2 to 4, there from 2 to 3"),
        ({"n_atoms": (2, 30)}, {"n_atoms": (2, 20)}, "n_atoms from 2 to 30, there from 2 to 20"),
        ({"count": (1, 12)}, {"count": (1, 6)}, "1 to 12 times in a formula, there 1 to 6"),
        ({"order": "canonical"}, {}, "order canonical, there free"),
        ({"neutrality": "off"}, {"neutrality": "hard"}, "not neutral by pymatgen_common"),
        ({}, {"required": ("O",)}, r"objects without what is required there \(O\)"),
    ],
)
def test_what_the_larger_world_lacks_is_named(ours: dict[str, Any], theirs: dict[str, Any], message: str) -> None:
    plain: dict[str, Any] = {"elements": ("Li", "Fe", "O"), "neutrality": "off", "n_elements": (2, 2)}
    narrow, wide = (CompositionKernel(CompositionSpace(**plain | fields)) for fields in (ours, theirs))
    with pytest.raises(ValueError, match=message):
        narrow.included_in(wide)


def test_space_groups_that_the_larger_world_lacks_are_named() -> None:
    fields: dict[str, Any] = {"elements": ("Sr", "Ti", "O"), "neutrality": "off", "geometry": False}
    narrow, wide = (WyckoffKernel(WyckoffSpace(space_groups=g, **fields)) for g in ((221, 225), (225,)))
    with pytest.raises(ValueError, match="this world has space group 221"):
        narrow.included_in(wide)
