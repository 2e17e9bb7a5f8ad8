"""Sums over bags of tokens, against a dense product in double precision, forward and backward."""

import numpy as np
import pytest
import torch

from oreflow.agent.policy.token_bag import sum_of_rows


@pytest.mark.parametrize("n_bags", [1, 40, 700])  # one and several threads
@pytest.mark.parametrize("width", [5, 60])  # torch's own, and ours
def test_sums_and_gradients_equal_a_dense_product(n_bags: int, width: int, rng: np.random.Generator) -> None:
    n_tokens = 90
    tokens = rng.integers(0, n_tokens + 1, (n_bags, width))
    tokens[:, width // 2 :] = n_tokens
    tokens[0] = n_tokens  # an empty bag
    table = torch.from_numpy(rng.normal(size=(n_tokens + 1, 12))).float().requires_grad_()
    gradient = torch.from_numpy(rng.normal(size=(12, n_bags))).float().t()  # not contiguous
    out = sum_of_rows(table, torch.from_numpy(tokens))
    out.backward(gradient)
    counts = np.zeros((n_bags, n_tokens + 1))
    np.add.at(counts, (np.arange(n_bags)[:, None], tokens), 1.0)
    counts[:, n_tokens] = 0.0
    assert np.allclose(out.detach().numpy(), counts @ table.detach().double().numpy(), atol=1e-4)
    assert not out.detach()[0].any()
    assert table.grad is not None
    assert np.allclose(table.grad.numpy(), counts.T @ gradient.double().numpy(), atol=1e-3)
    assert not table.grad[n_tokens].any()


def test_results_are_those_of_single_bags(rng: np.random.Generator) -> None:
    """Number for number, however many bags are summed together."""
    table = torch.from_numpy(rng.normal(size=(50, 8))).float()
    tokens = torch.from_numpy(rng.integers(0, 50, (600, 40)))
    together = sum_of_rows(table, tokens)
    for i in range(0, 600, 97):
        assert torch.equal(sum_of_rows(table, tokens[i : i + 1])[0], together[i])


@pytest.mark.parametrize("n_bags", [40, 700])
def test_sums_are_added_up_in_the_order_of_tokens_and_bags(n_bags: int, rng: np.random.Generator) -> None:
    """Bit for bit, as rounding would tell another order: NumPy's unbuffered addition goes row by row."""
    n_tokens, tokens = 30, rng.integers(0, 31, (n_bags, 40))
    table = torch.from_numpy(rng.normal(size=(n_tokens + 1, 12))).float().requires_grad_()
    gradient = torch.from_numpy(rng.normal(size=(n_bags, 12))).float()
    out = sum_of_rows(table, torch.from_numpy(tokens))
    out.backward(gradient)
    bag, place = np.nonzero(tokens < n_tokens)
    sums, gradients = np.zeros((n_bags, 12), dtype=np.float32), np.zeros((n_tokens + 1, 12), dtype=np.float32)
    np.add.at(sums, bag, table.detach().numpy()[tokens[bag, place]])
    np.add.at(gradients, tokens[bag, place], gradient.numpy()[bag])
    assert np.array_equal(out.detach().numpy(), sums)
    assert table.grad is not None
    assert np.array_equal(table.grad.numpy(), gradients)
