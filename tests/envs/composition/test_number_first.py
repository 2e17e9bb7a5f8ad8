"""Compositions whose number of elements is chosen first: contract, objects, and masks of the worlds of one number."""

from dataclasses import replace

import numpy as np
import pytest

from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.number_first import NumberFirstKernel
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.contract.inclusion import Includable
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from tests.support.worlds import SPACES, kernel


@pytest.mark.parametrize("name", SPACES)
def test_contract(name: str, rng: np.random.Generator) -> None:
    check_kernel(NumberFirstKernel(kernel(name)), rng, n=100)


@pytest.mark.parametrize("name", [name for name in SPACES if name != "large"])
def test_objects_are_those_of_the_plain_world_and_masks_those_of_one_number(name: str) -> None:
    plain, k = kernel(name), NumberFirstKernel(kernel(name))
    world, of_plain = k.enumerate(), plain.enumerate()
    found = k.objects(world.states[world.can_stop])
    assert sorted(found.key_bytes()) == sorted(plain.objects(of_plain.states[of_plain.can_stop]).key_bytes())
    assert world.states[world.can_stop][:, -2].tolist() == found.n_elements.tolist()
    allowed = k.forward_allowed(world.states)
    assert np.flatnonzero(allowed[0]).tolist() == [number - 1 for number in k.numbers.tolist()]
    for number in k.numbers.tolist():
        here = world.states[:, -2] == number
        alone = CompositionKernel(replace(plain.space, n_elements=(number, number)))
        # Of the same width: a count that no formula of so many elements has is no action there.
        padded = np.zeros((int(here.sum()), plain.n_actions), dtype=np.bool_)
        mask = alone.forward_allowed(k.plain_states(world.states[here]))
        grid = padded[:, :-1].reshape(len(padded), plain.rules.n, plain.rules.width)
        grid[:, :, : alone.rules.width] = mask[:, :-1].reshape(len(mask), plain.rules.n, alone.rules.width)
        padded[:, -1] = mask[:, -1]
        assert (allowed[here] == padded).all()


def test_many_states_at_once_have_the_masks_of_each_alone(rng: np.random.Generator) -> None:
    k = NumberFirstKernel(kernel("large"))
    states, seen = k.initial(300), []
    while not k.is_terminal(states).all():
        seen.append(states)
        allowed = k.forward_allowed(states)
        actions = np.where(allowed.any(axis=1), (rng.random(allowed.shape) * allowed).argmax(axis=1), -1)
        states = k.step(states, actions)
    mixed = rng.permutation(np.concatenate(seen))
    together = k.forward_allowed(mixed)
    for i in range(0, len(mixed), 37):
        assert (together[i] == k.forward_allowed(mixed[i : i + 1])[0]).all()


def test_some_numbers_alone(rng: np.random.Generator) -> None:
    plain = kernel("hard")
    k = NumberFirstKernel(plain, [4, 2])
    assert k.numbers.tolist() == [2, 4]
    check_kernel(k, rng, n=50)
    assert set(k.objects(k.sample_uniform(200, rng)).n_elements.tolist()) == {2, 4}
    formulas = ["Li2O", "Li3PO4", "FeLiO4P"]
    states, inside = k.find(Compositions.from_dicts([parse_formula(formula) for formula in formulas]))
    assert inside.tolist() == [True, False, True]
    assert k.describe(states[inside]) == ["Li2O", "LiO4PFe"]


def test_states_behind_the_choice_are_plain_ones() -> None:
    plain = kernel("off")
    k = NumberFirstKernel(plain)
    root = k.step(k.initial(1), np.array([1]))
    assert k.describe(root) == ["… of 2 elements"]
    assert isinstance(k, Includable)
    inclusion = k.included_in(plain)
    assert (inclusion.states(root) == plain.initial(1)).all()
    assert inclusion.actions.tolist() == list(range(plain.n_actions))
    assert inclusion.tokens.tolist() == [*range(plain.n_tokens), -1, -1, -1]
    further = k.step(root, np.array([7]))
    assert (inclusion.states(further) == plain.step(plain.initial(1), inclusion.actions[[7]])).all()


def test_a_token_says_how_many_elements_are_still_to_come() -> None:
    plain = kernel("off")
    k = NumberFirstKernel(plain)
    states, left = k.step(k.initial(1), np.array([2])), []
    for formula in ("", "Li", "LiO", "LiMnO"):
        counts = parse_formula(formula) if formula else {}
        states[0, :3] = [counts.get(z, 0) for z in k.atomic_numbers.tolist()]
        tokens = k.encode(states)[0]
        extra = tokens[(tokens >= plain.n_tokens) & (tokens < k.n_tokens)]
        left.append((extra - plain.n_tokens + 1).tolist())
        known = plain.encode(k.plain_states(states))[0]
        assert sorted(tokens[tokens < plain.n_tokens]) == sorted(known[known < plain.n_tokens])
    assert left == [[3], [2], [1], []]


def test_numbers_that_no_formula_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has a formula \(2, 3, 4\), got 1, 7; leave it out, or widen the world"):
        NumberFirstKernel(kernel("hard"), [1, 2, 7])
