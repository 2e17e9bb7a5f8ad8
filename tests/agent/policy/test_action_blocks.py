"""Blocks of actions: choices, gradients and probabilities of an object against those over all actions at once."""

import numpy as np
import pytest
import torch

from oreflow.agent.evaluation.exact import compare_exactly, terminating_distribution
from oreflow.agent.policy.action_blocks import ActionBlocks, blocks_of
from oreflow.agent.policy.action_head import Choices, Workspace
from oreflow.agent.policy.network import Policy, masked_log_softmax
from oreflow.agent.rollout.log_probabilities import action_log_probabilities, log_terminating_probability
from oreflow.agent.rollout.rollout import backward_rollout, draw_objects, evaluate, forward_rollout
from oreflow.envs.contract.check import check_action_block, check_action_blocks, check_kernel
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from tests.support.worlds import kernel

HIDDEN = 16
BLOCKS = [
    np.arange(0, 90),
    np.array([90, 92, 149]),
    np.arange(91, 130),
    np.arange(120, 150),
]  # two have gaps or overlap


def wyckoff(**changes: object) -> WyckoffKernel:
    settings = {"space_groups": [5, 225], "elements": ("Na", "Cl", "K"), "n_elements": (2, 2), "n_atoms": (2, 6)}
    return WyckoffKernel(WyckoffSpace(**(settings | {"grid": 24, "length_bin": 0.1} | changes)))  # type: ignore[arg-type]


def policy_of(k: TransitionKernel, learned_backward: bool = False, state_flow: bool = False) -> Policy:
    generator = torch.Generator().manual_seed(3)
    policy = Policy(
        k.token_factors, k.action_factors, k.n_backward_actions, [32, 24], learned_backward, generator,
        state_flow=state_flow,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in policy.head.parameters():
            parameter.mul_(100)  # far from uniform
    return policy


@pytest.mark.parametrize("drawn", [True, False])
def test_choices_and_gradients_equal_those_over_all_actions(drawn: bool, rng: np.random.Generator) -> None:
    """Two parts, rows in any order, some never chosen in; the reference is the plain layer in double precision."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(150, HIDDEN, generator=generator, requires_grad=True)
    bias = torch.randn(150, generator=generator, requires_grad=True)
    x = torch.randn(70, HIDDEN, generator=generator, requires_grad=True)
    blocks, choices = ActionBlocks(BLOCKS, 150), Choices(Workspace(), ActionBlocks(BLOCKS, 150))
    block = rng.integers(0, 4, 70)
    allowed = np.zeros((70, 150), dtype=np.bool_)
    for i, b in enumerate(block):
        allowed[i, rng.permutation(BLOCKS[b])[: rng.integers(1, len(BLOCKS[b]) + 1)]] = True
    rows, actions = [], []
    for first, last in ((0, 45), (45, 70)):
        row = rng.integers(0, last - first - 1, 200)
        given = None if drawn else np.array([rng.choice(np.flatnonzero(allowed[first + r])) for r in row])
        taken = choices.make(
            x[first:last].detach(),
            weight.detach(),
            bias.detach(),
            allowed[first:last],
            row,
            block=block[first:last],
            actions=None if given is None else given.copy(),
            uniform=rng.random((200, 2)),
            epsilon=0.2,
        )
        assert given is None or np.array_equal(taken, given)
        rows.append(first + row)
        actions.append(taken)
    row, taken = np.concatenate(rows), np.concatenate(actions)
    assert allowed[row, taken].all()
    assert len(blocks.select) == 4
    log_p = choices.log_probabilities(x, weight, bias)
    coefficients = torch.from_numpy(rng.normal(size=400)).float()
    (log_p * coefficients).sum().backward()
    by_block = [t.grad.clone() for t in (x, weight, bias)]  # type: ignore[union-attr]
    x.grad = weight.grad = bias.grad = None
    logits = x.double() @ weight.double().T + bias.double()
    expected = masked_log_softmax(logits, torch.from_numpy(allowed))[torch.from_numpy(row), torch.from_numpy(taken)]
    (expected * coefficients).sum().backward()
    assert torch.allclose(log_p.double(), expected, atol=1e-5)
    for mine, plain in zip(by_block, (x.grad, weight.grad, bias.grad)):
        assert plain is not None
        assert torch.allclose(mine, plain, atol=1e-5 * float(plain.abs().max()))


def test_draws_by_block_follow_the_policy(rng: np.random.Generator) -> None:
    generator = torch.Generator().manual_seed(2)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((3, HIDDEN), (150, HIDDEN), (150,)))
    block, n = np.array([2, 0, 1]), 40_000
    allowed = np.zeros((3, 150), dtype=np.bool_)
    for i, b in enumerate(block):
        allowed[i, BLOCKS[b]] = True
    row = np.repeat(np.arange(3), n)
    choices = Choices(Workspace(), ActionBlocks(BLOCKS, 150))
    actions = choices.make(x, weight, bias, allowed, row, block=block, uniform=rng.random((3 * n, 2)), epsilon=0.0)
    expected = masked_log_softmax((x @ weight.T + bias).double(), torch.from_numpy(allowed)).exp().numpy()
    for i in range(3):
        frequencies = np.bincount(actions[row == i], minlength=150) / n
        assert np.abs(frequencies - expected[i]).max() < 4.5 * np.sqrt(0.25 / n)


def test_where_nothing_is_chosen_nothing_comes_back() -> None:
    choices = Choices(Workspace(), ActionBlocks(BLOCKS, 150))
    weight, bias, none = torch.ones(150, HIDDEN), torch.zeros(150), np.empty(0, dtype=np.int64)
    mask, uniform = np.empty((0, 150), dtype=np.bool_), np.empty((0, 2))
    assert choices.make(torch.empty(0, HIDDEN), weight, bias, mask, none, block=none, uniform=uniform).shape == (0,)
    assert choices.log_probabilities(None, weight, bias).shape == (0,)


@pytest.mark.parametrize("geometry", [False, True])
def test_stages_hold_all_that_a_crystal_allows(geometry: bool, rng: np.random.Generator) -> None:
    k = wyckoff(geometry=geometry)
    check_kernel(k, rng, 30)
    assert len(k.action_blocks) == (9 if geometry else 3)
    assert sorted(np.concatenate(k.action_blocks).tolist()) == list(range(k.n_actions))
    assert blocks_of(k) is not None
    assert blocks_of(kernel("off")) is None


def test_the_contract_refuses_a_wrong_block() -> None:
    k = wyckoff(geometry=False)
    states = k.initial(3)
    check_action_block(k, states, k.forward_allowed(states))
    k.action_block = lambda states: np.ones(len(states), dtype=np.int64)  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="outside its block"):
        check_action_block(k, states, k.forward_allowed(states))
    k.action_blocks = k.action_blocks[:2]
    with pytest.raises(AssertionError, match="is in no block"):
        check_action_blocks(k)


@pytest.mark.parametrize("learned_backward", [False, True])
def test_trajectories_of_crystals_have_the_probabilities_of_the_full_layer(
    learned_backward: bool, rng: np.random.Generator
) -> None:
    """Forward, backward and evaluated trajectories, and gradients of all parameters."""
    k = wyckoff()
    policy = policy_of(k, learned_backward, state_flow=learned_backward)
    drawn = forward_rollout(k, policy, 48, rng, epsilon=0.2)
    back = backward_rollout(k, policy, drawn.terminal, rng)
    again = evaluate(k, policy, drawn.terminal, drawn.offsets, drawn.states, drawn.actions)
    assert torch.allclose(drawn.log_pf, again.log_pf, atol=1e-4)
    for t in (drawn, back):
        logits, _ = policy(torch.from_numpy(k.encode(t.states)))
        full = masked_log_softmax(logits, torch.from_numpy(k.forward_allowed(t.states)))
        expected = full[torch.arange(len(t.actions)), torch.from_numpy(t.actions)]
        assert torch.allclose(t.log_pf, expected, atol=1e-4)
        coefficients = torch.from_numpy(rng.normal(size=len(t.actions))).float()
        policy.zero_grad()
        (t.log_pf * coefficients).sum().backward(retain_graph=True)
        found = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
        policy.zero_grad()
        (expected * coefficients).sum().backward()
        for name, p in policy.named_parameters():
            if p.grad is not None and p.grad.any():
                assert torch.allclose(found[name], p.grad, atol=2e-4 * float(p.grad.abs().max())), name


def test_probability_of_a_decoration_is_its_mass_in_the_enumerated_world(rng: np.random.Generator) -> None:
    k = wyckoff(geometry=False, n_atoms=(2, 4))
    policy, world = policy_of(k), k.enumerate()
    log_pf = action_log_probabilities(k, policy, world.states)
    mass = terminating_distribution(world, log_pf)
    objects = k.step(world.states[world.can_stop], np.full(world.n_objects, k.n_actions - 1))
    assert mass.sum() == pytest.approx(1.0, abs=1e-9)
    assert np.allclose(np.exp(log_terminating_probability(k, policy, objects)), mass, atol=1e-6)
    uniform = compare_exactly(k, policy, lambda states: np.zeros(len(states)))
    assert uniform.total_variation > 0.2  # the draws below are of no uniform policy
    number = {row.tobytes(): i for i, row in enumerate(objects)}
    n = 20_000
    counts = np.bincount([number[row.tobytes()] for row in draw_objects(k, policy, n, rng)], minlength=len(objects))
    assert np.abs(counts / n - mass).max() < 4.5 * np.sqrt(0.25 / n)
