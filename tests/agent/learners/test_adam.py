"""Adam as torch has it, and without torch's compiler."""

import subprocess
import sys

import torch

from oreflow.agent.learners.adam import Adam


def _trained(kind: type[torch.optim.Adam], steps: int) -> tuple[torch.nn.Module, torch.optim.Adam]:
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    of_bias, others = [network[0].bias], [network[0].weight, *network[2].parameters()]
    optimizer = kind([{"params": others, "lr": 0.01}, {"params": of_bias, "lr": 0.1}], fused=True)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        network(torch.randn(11, 7)).square().sum().backward()
        optimizer.step()
    return network, optimizer


def test_weights_and_moments_are_torchs_bit_for_bit() -> None:
    ours, our_optimizer = _trained(Adam, 20)
    theirs, their_optimizer = _trained(torch.optim.Adam, 20)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    our_state, their_state = our_optimizer.state_dict(), their_optimizer.state_dict()
    assert our_state["param_groups"] == their_state["param_groups"]
    for parameter, moments in their_state["state"].items():
        for name, moment in moments.items():
            assert torch.equal(our_state["state"][parameter][name], moment)


def test_what_was_saved_goes_on_as_if_never_interrupted() -> None:
    _, of_twenty = _trained(torch.optim.Adam, 20)
    _, empty = _trained(Adam, 0)
    empty.load_state_dict(of_twenty.state_dict())
    assert str(empty.state_dict()) == str(of_twenty.state_dict())


def test_a_step_is_no_part_of_the_graph() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Adam([weight], lr=0.1)  # torch's fused kernel, which the others use, would not tell
    weight.sum().backward()
    optimizer.step()
    assert torch.is_grad_enabled()
    assert torch.allclose(weight, torch.full((3,), 0.9))
    assert weight.is_leaf


def test_torchs_compiler_is_not_loaded() -> None:
    code = """
import sys, torch
from oreflow.agent.learners.adam import Adam
weight = torch.nn.Parameter(torch.ones(3))
optimizer = Adam([{"params": [weight], "lr": 0.1}], fused=True)
optimizer.zero_grad()
weight.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
