"""The policy network: its factored layers against dense ones, shared rows, padding, and learned backward heads."""

import numpy as np
import torch

from oreflow.agent.policy.network import FactoredWeights, Policy
from tests.support.worlds import kernel


def policy_of(name: str, learned_backward: bool = False) -> Policy:
    k = kernel(name)
    generator = torch.Generator().manual_seed(0)
    return Policy(k.token_factors, k.action_factors, k.n_backward_actions, [16, 24], learned_backward, generator)


def test_factored_rows_are_sums_of_their_parts() -> None:
    factors = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    module = FactoredWeights(factors, 1, 3, 1.0, torch.Generator().manual_seed(1))
    rows = module()
    element, count = module.shared
    for row, (e, c) in enumerate(factors):
        assert torch.allclose(rows[row], module.own[row] + element[e] + count[c])
    assert torch.equal(rows[4], module.own[4])
    rows[0].sum().backward()
    assert element.grad is not None
    assert (element.grad[0] == 1).all()
    assert (element.grad[1] == 0).all()


def test_gradients_of_factored_rows_equal_those_of_embeddings() -> None:
    k = kernel("hard")
    module = FactoredWeights(k.token_factors, 1, 8, 1.0, torch.Generator().manual_seed(1))
    coefficients = torch.randn(k.n_tokens + 1, 8, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad(module(), list(module.parameters()), coefficients)
    total = module.own[:-1]
    for ids, table in zip(k.token_factors.T, module.shared):
        total = total + torch.nn.functional.embedding(torch.from_numpy(ids.copy()), table)
    expected = torch.autograd.grad(torch.cat([total, module.own[-1:]]), list(module.parameters()), coefficients)
    for mine, plain in zip(found, expected):
        assert torch.allclose(mine, plain, atol=1e-5)


def test_tokens_that_share_an_element_share_its_row() -> None:
    k = kernel("off")
    width = k.rules.width
    assert k.token_factors.shape == (k.n_tokens, 3)
    additions = np.arange(k.n_actions - 1)
    assert (k.token_factors[additions, 0] == additions // width).all()
    assert (k.token_factors[additions, 1] == additions % width).all()
    assert np.array_equal(k.token_factors[additions], k.action_factors)
    others = k.token_factors[k.n_actions - 1 :]
    assert (others == others[0]).all()  # they share nothing with elements and counts
    assert not (others[0] == k.action_factors).any()
    groups = {0: 1, 1: 16, 2: 7}  # Li, O, Mn by atomic number
    for element, group in groups.items():
        assert (k.token_factors[element * width : (element + 1) * width, 2] == group * width + np.arange(width)).all()


def test_bag_of_tokens_equals_a_dense_layer_on_the_multi_hot_state() -> None:
    k = kernel("hard")
    policy = policy_of("hard")
    states = k.enumerate().states
    tokens = k.encode(states)
    multi_hot = np.zeros((len(states), k.n_tokens), dtype=np.float32)
    for row, bag in zip(multi_hot, tokens):
        row[bag[bag < k.n_tokens]] = 1.0
    embedding, head = policy.weights()
    x = torch.relu(torch.from_numpy(multi_hot) @ embedding[: k.n_tokens] + policy.embedding_bias)
    for layer in policy.layers:
        x = torch.relu(layer(x))
    expected = x @ head.T + policy.head_bias
    logits, backward = policy(torch.from_numpy(tokens))
    assert backward is None
    assert logits.shape == (len(states), k.n_actions)
    assert torch.allclose(logits, expected, atol=1e-5)
    wider = np.pad(tokens, ((0, 0), (0, 3)), constant_values=k.n_tokens)
    assert torch.allclose(policy(torch.from_numpy(wider))[0], logits, atol=1e-6)


def test_backward_head_shares_the_pass_and_has_one_logit_a_backward_action() -> None:
    k = kernel("hard")
    policy = policy_of("hard", learned_backward=True)
    _, backward = policy(torch.from_numpy(k.encode(k.initial(2))))
    assert backward is not None
    assert backward.shape == (2, k.n_backward_actions)


def test_untrained_policy_is_close_to_uniform_over_the_allowed_actions() -> None:
    k = kernel("large")
    logits, _ = policy_of("large")(torch.from_numpy(k.encode(k.initial(1))))
    assert logits.detach().std() < 0.2
