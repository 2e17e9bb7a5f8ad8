"""torchgfn on the crystal world, where one action may lead to a state from several parents: all agrees with ours."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gfn", reason="torchgfn needs numpy below 2")

from gfn.samplers import Sampler

from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.evaluation.exact import compare_exactly, terminating_distribution
from oreflow.agent.learners.gflownet import GFlowNetLearner
from oreflow.agent.learners.torchgfn import Heads
from oreflow.agent.rollout.log_probabilities import action_log_probabilities
from oreflow.agent.rollout.rollout import evaluate
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.training.build import make_policy, make_reward, make_scorer
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.faces.torchgfn_env import TorchGFNEnv, ragged, terminal_states
from tests.agent.training.test_training import run, tiny
from tests.envs.faces.test_torchgfn import policy_for

BINS = {"grid": 24, "length_bin": 0.5, "volume_a3_per_atom": (9, 12), "axis_ratio_max": 2.3}
RULES = {"elements": ("Na", "Cl"), "n_elements": (1, 2)} | BINS
WORLDS: dict[str, dict[str, Any]] = {
    "decorations": {"space_groups": [2, 225], "n_atoms": (2, 3), "geometry": False} | RULES,
    "crystals": {"space_groups": [186, 194], "n_atoms": (4, 4)} | RULES,  # the first of them polar
}


@cache
def kernel(name: str) -> WyckoffKernel:
    return WyckoffKernel(WyckoffSpace(neutrality="off", **WORLDS[name]))


def log_reward(states: np.ndarray) -> np.ndarray:
    """Far from uniform, from the group and the first two positions."""
    return 0.01 * states[:, 0] - 0.2 * (states[:, 3] % 5) + 0.1 * (states[:, 4] % 7)


@pytest.mark.parametrize("name", WORLDS)
def test_masks_and_steps_equal_the_kernel(name: str) -> None:
    k = kernel(name)
    env = TorchGFNEnv(k, log_reward, debug=True)
    world = k.enumerate()
    states = env.all_states

    # One of our actions for each of the kernel's, forward; for each backward action, another one.
    row, number = np.nonzero(states.forward_masks.numpy())
    allowed = k.forward_allowed(world.states)
    assert len(row) == allowed.sum()
    assert allowed[row, env.kernel_action[number]].all()
    assert len(np.unique(np.stack([row, env.kernel_action[number]]), axis=1).T) == len(row)
    backward = k.backward_allowed(world.states)
    assert np.array_equal(states.backward_masks.sum(dim=1).numpy(), backward.sum(axis=1))

    # Without numbers of their own these backward actions would be taken for one another.
    child, slot = np.nonzero(backward)
    redo = k.redo_action(world.states[child], slot)
    assert len(np.unique(np.stack([child, redo]), axis=1).T) < len(child)

    numbers = env.numbers_of(world.states[world.parent], world.action)
    assert np.array_equal(env.kernel_action[numbers], world.action)
    parents = env.states_from_tensor(states.tensor[torch.from_numpy(world.parent)])
    actions = env.actions_from_tensor(torch.from_numpy(numbers)[:, None])
    after = env._step(parents, actions)  # checked against the masks, which debug does
    assert np.array_equal(env.get_states_indices(after).numpy(), world.child)
    back = env._backward_step(after, actions)
    assert np.array_equal(env.get_states_indices(back).numpy(), world.parent)


@pytest.mark.parametrize("name", WORLDS)
def test_probabilities_and_the_exact_distribution_are_ours(name: str) -> None:
    k = kernel(name)
    policy = policy_for(k, "trajectory_balance", False)
    env = TorchGFNEnv(k, log_reward)
    model = Heads(policy).gflownet("trajectory_balance", env)
    states = env.all_states
    with torch.no_grad():
        p = model.pf.to_probability_distribution(states, model.pf(states)).probs.double().numpy()
    theirs = np.zeros((len(p), k.n_actions))
    np.add.at(theirs, (slice(None), env.kernel_action), p)
    ours = action_log_probabilities(k, policy, env.world.states)
    assert np.abs(theirs - np.exp(ours)).max() < 1e-5
    with np.errstate(divide="ignore"):
        exact = terminating_distribution(env.world, np.log(theirs))
    expected = terminating_distribution(env.world, ours)
    assert expected.max() > 1.5 / len(expected)
    assert np.abs(exact - expected).max() < 1e-5 * expected.max()

    # Its own sampler reaches terminal states, as often as it should.
    torch.manual_seed(1)
    n = 5000
    with torch.no_grad():
        drawn = Sampler(model.pf).sample_trajectories(TorchGFNEnv(k, debug=True), n=n, save_logprobs=True)
    terminal = terminal_states(drawn)
    assert k.is_terminal(terminal).all()
    groups = env.world.states[env.world.can_stop][:, 0]
    for group in np.unique(groups):
        share = expected[groups == group].sum()
        assert abs((terminal[:, 0] == group).mean() - share) < 4 * (share * (1 - share) / n) ** 0.5 + 1e-9
    t = evaluate(k, policy, *ragged(drawn))
    assert np.allclose(t.total(t.log_pf).detach().numpy(), drawn.log_probs.sum(dim=0).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", WORLDS)
def test_learned_backward_probabilities_are_ours(name: str) -> None:
    """Along trajectories that torchgfn draws itself from the last states back."""
    k = kernel(name)
    policy = policy_for(k, "trajectory_balance", True)
    env = TorchGFNEnv(k, log_reward, debug=True)
    model = Heads(policy).gflownet("trajectory_balance", env)
    torch.manual_seed(2)
    some = torch.randperm(env.n_terminating_states)[:300]
    with torch.no_grad():
        back = Sampler(model.pb).sample_trajectories(env, states=env.terminating_states[some], save_logprobs=True)
        expected = evaluate(k, policy, *ragged(back.reverse_backward_trajectories()))
    theirs = back.log_probs.sum(dim=0)
    assert np.allclose(expected.total(expected.log_pb).numpy(), theirs.numpy(), atol=1e-4)
    assert float(theirs.std()) > 0.01


@pytest.mark.parametrize("backward", ["uniform", "learned"])
@pytest.mark.parametrize("objective", ["trajectory_balance", "sub_trajectory_balance", "detailed_balance"])
@pytest.mark.parametrize("name", WORLDS)
def test_loss_and_gradients_equal_ours(name: str, objective: str, backward: str) -> None:
    k = kernel(name)
    policy = policy_for(k, objective, backward == "learned")
    env = TorchGFNEnv(k, log_reward, debug=True)
    model = Heads(policy).gflownet(objective, env)
    torch.manual_seed(5)
    with torch.no_grad():
        trajectories = model.sample_trajectories(env, n=32, save_logprobs=False)
    loss = model.loss_from_trajectories(env, trajectories, recalculate_all_logprobs=True)
    loss.backward()
    theirs = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    learner = GFlowNetLearner(tiny(objective=objective), k, policy, np.random.default_rng(0))
    learner.partition.started[:] = True
    t = evaluate(k, policy, *ragged(trajectories))
    ours = learner._loss(t, torch.from_numpy(log_reward(t.terminal)))
    policy.zero_grad()
    ours.backward()
    assert ours.item() == pytest.approx(loss.item(), rel=1e-4)
    for parameter in ("head.own", "embedding.own"):
        mine = dict(policy.named_parameters())[parameter].grad
        assert float((mine - theirs[parameter]).abs().max()) < 1e-4 * float(theirs[parameter].abs().max())


def config(name: str, **sampler: Any) -> Config:
    """A reward of the formula, and one of the distances where there are any."""
    terms: list[dict[str, Any]] = [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 2.0}}]
    if WORLDS[name].get("geometry", True):
        terms.append({"name": "contact_ratio", "shape": {"kind": "target", "value": 1.0, "width": 0.2}})
    document = tiny(engine="torchgfn", steps=150, learning_rate=3e-3, **sampler).model_dump()
    document["world"] = {"kind": "wyckoff", "neutrality": "soft"} | WORLDS[name]
    document["reward"] = {"terms": terms}
    return validate_config(document, "test")


@pytest.mark.parametrize(
    ("name", "backward"), [("decorations", "uniform"), ("crystals", "uniform"), ("crystals", "learned")]
)
def test_training_by_torchgfn_approaches_the_target(tmp_path: Path, name: str, backward: str) -> None:
    """The exact distribution over crystals; were R not shared out among labelings, it would be another one."""
    c = config(name, backward=backward)
    folder, result = run(c, tmp_path / "run")
    assert result.metrics["n_objects"] == 150 * 64
    assert result.metrics["n_invalid"] == 0
    trained = load_run(folder)
    k, reward = trained.kernel, make_reward(c)
    scorer = make_scorer(k, reward)
    exact = compare_exactly(k, trained.policy, scorer)
    start = compare_exactly(k, make_policy(c, k), scorer)
    assert exact.total_variation < 0.1 < start.total_variation / 3
    assert abs(exact.log_z_error) < 0.05
    unshared = compare_exactly(k, trained.policy, make_scorer(k, reward, of_states=False))
    assert (unshared.total_variation > 0.15) == (name == "crystals")
