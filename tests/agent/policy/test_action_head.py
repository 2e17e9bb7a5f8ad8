"""The fused output layer against the plain one: probabilities, draws and gradients, number for number."""

import math

import numpy as np
import pytest
import torch

from oreflow.agent.policy.action_head import Workspace, choose
from oreflow.agent.policy.masked_softmax import BLOCK, exponentiate
from oreflow.agent.policy.network import masked_log_softmax

ROWS, ACTIONS, HIDDEN = 40, 150, 16


@pytest.fixture
def layer() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """x, weight, bias and a mask with one row that leaves a single action."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, HIDDEN, generator=generator, requires_grad=True)
    weight = torch.randn(ACTIONS, HIDDEN, generator=generator, requires_grad=True)
    bias = torch.randn(ACTIONS, generator=generator, requires_grad=True)
    allowed = np.random.default_rng(1).random((ROWS, ACTIONS)) < 0.6
    allowed[7] = False
    allowed[7, 149] = True
    return x, weight, bias, allowed


def reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, allowed: np.ndarray) -> torch.Tensor:
    logits = x.double() @ weight.double().T + bias.double()
    return masked_log_softmax(logits, torch.from_numpy(allowed))


@pytest.mark.parametrize("drawn", [True, False])
def test_log_probabilities_and_gradients_equal_the_plain_layer(layer, drawn: bool, rng: np.random.Generator) -> None:
    x, weight, bias, allowed = layer
    row = rng.integers(0, ROWS - 1, 300)  # rows occur several times, the last never
    uniform = rng.random((300, 2))
    given = None if drawn else np.array([rng.choice(np.flatnonzero(allowed[r])) for r in row])
    log_p, actions = choose(x, weight, bias, allowed, row, Workspace(), actions=given, uniform=uniform, epsilon=0.2)
    assert allowed[row, actions].all()
    coefficients = torch.from_numpy(rng.normal(size=300)).float()
    (log_p * coefficients).sum().backward()
    fused = [t.grad.clone() for t in (x, weight, bias)]
    for t in (x, weight, bias):
        t.grad = None
    expected = reference(x, weight, bias, allowed)[torch.from_numpy(row), torch.from_numpy(actions)]
    (expected * coefficients).sum().backward()
    assert torch.allclose(log_p.double(), expected, atol=1e-5)
    for mine, plain in zip(fused, (x.grad, weight.grad, bias.grad)):
        assert torch.allclose(mine, plain, atol=1e-5 * float(plain.abs().max()))
    assert not fused[0][-1].any()


@pytest.mark.parametrize(("epsilon", "temperature"), [(0.0, 1.0), (0.5, 1.0), (0.0, 2.0), (0.3, 0.5)])
def test_draws_follow_policy_exploration_and_temperature(
    layer, epsilon: float, temperature: float, rng: np.random.Generator
) -> None:
    x, weight, bias, allowed = layer
    n = 60_000
    with torch.no_grad():
        log_p, actions = choose(
            x,
            weight,
            bias,
            allowed,
            np.full(n, 3),
            Workspace(),
            uniform=rng.random((n, 2)),
            epsilon=epsilon,
            temperature=temperature,
        )
    policy = reference(x, weight, bias, allowed)[3].exp().detach().numpy()
    tempered = policy ** (1 / temperature)
    behaviour = (1 - epsilon) * tempered / tempered.sum() + epsilon * allowed[3] / allowed[3].sum()
    frequencies = np.bincount(actions, minlength=ACTIONS) / n
    assert np.abs(frequencies - behaviour).max() < 4.5 * math.sqrt(0.25 / n)
    assert np.allclose(log_p.numpy(), np.log(policy[actions]), atol=1e-5)


def test_the_edges_of_the_unit_interval_fall_on_actions_with_weight(layer) -> None:
    x, weight, bias, allowed = layer
    uniform = np.array([[0.0, 1.0], [1 - 1e-16, 1.0], [0.0, 0.0], [1 - 1e-16, 0.0]])
    for row in range(ROWS):
        _, actions = choose(x, weight, bias, allowed, np.full(4, row), Workspace(), uniform=uniform, epsilon=0.5)
        first, last = np.flatnonzero(allowed[row])[[0, -1]]
        assert actions.tolist() == [first, last, first, last]


def test_without_exploration_no_random_number_explores(layer) -> None:
    x, weight, bias, allowed = layer
    row = np.arange(ROWS)
    explored, drawn = (
        choose(x, weight, bias, allowed, row, Workspace(), uniform=np.tile([0.5, second], (ROWS, 1)), epsilon=epsilon)[
            1
        ]
        for second, epsilon in ((0.0, 1e-9), (0.0, 0.0))
    )
    median = (reference(x, weight, bias, allowed).exp().cumsum(1) > 0.5).int().argmax(1).numpy()
    assert np.array_equal(drawn, median)
    assert not np.array_equal(explored, median)


def test_exponentials_are_exact_to_float32() -> None:
    """Logits below 0 in steps of 2^-10, so that their differences are exact; far ones get no weight, nor forbidden."""
    logits = -3 - np.arange(0, 100 * 1024, 7, dtype=np.float32)[None, ::-1] / 1024
    allowed = np.ones(logits.shape, dtype=np.bool_)
    logits[0, 5], allowed[0, 5] = 8.0, False
    n_blocks = -(-logits.shape[1] // BLOCK)
    found, sums = logits.copy(), np.empty((1, n_blocks), dtype=np.float32)
    largest, total = np.empty(1, dtype=np.float32), np.empty(1)
    exponentiate(found, allowed, sums, largest, total)
    assert largest[0] == -3
    expected = np.where(allowed & (logits >= -90), np.exp(logits.astype(float) + 3), 0.0)
    weighty = expected > 0
    assert np.abs(found[weighty] / expected[weighty] - 1).max() < 4e-7  # 2.9e-7, and processors add up differently
    assert not found[~weighty].any()
    assert np.allclose(sums[0], np.add.reduceat(expected[0], np.arange(0, logits.shape[1], BLOCK)), rtol=1e-5, atol=0)
    assert total[0] == pytest.approx(expected.sum(), rel=1e-6)


def test_a_poisoned_layer_gives_nan_and_no_crash(layer) -> None:
    x, weight, bias, allowed = layer
    broken = weight.detach().clone()
    broken[5] = torch.nan
    log_p, _ = choose(x, broken, bias, allowed, np.arange(ROWS), Workspace(), actions=allowed.argmax(axis=1))
    poisoned = allowed[:, 5]
    assert torch.isnan(log_p[torch.from_numpy(poisoned)]).all()
    assert torch.isfinite(log_p[torch.from_numpy(~poisoned)]).all()
    uniform = np.full((ROWS, 2), 0.99)
    _, drawn = choose(x, broken, bias, allowed, np.arange(ROWS), Workspace(), uniform=uniform)
    assert np.array_equal(drawn[poisoned], allowed.argmax(axis=1)[poisoned])
    assert not allowed[poisoned, 0].all()  # the first allowed one is not always the first


def test_workspace_memory_is_handed_out_again_after_clear() -> None:
    workspace = Workspace()
    a, b = workspace.take(3, 4), workspace.take(3, 4)
    assert a.data_ptr() != b.data_ptr()
    workspace.clear()
    assert workspace.take(2, 6).data_ptr() == a.data_ptr()
