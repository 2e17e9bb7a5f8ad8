"""torchgfn as the referee: its sampler, validation and loss on our kernel agree with ours, number for number."""

import numpy as np
import pytest
import torch

pytest.importorskip("gfn", reason="torchgfn needs numpy below 2")

from gfn.gym import HyperGrid
from gfn.samplers import Sampler

from oreflow.agent.evaluation.exact import terminating_distribution
from oreflow.agent.learners.gflownet import GFlowNetLearner
from oreflow.agent.learners.torchgfn import Heads
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.log_probabilities import action_log_probabilities
from oreflow.agent.rollout.rollout import evaluate, forward_rollout
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.faces.single import KernelEnv
from oreflow.envs.faces.torchgfn_env import TorchGFNEnv, ragged
from oreflow.envs.faces.vector import KernelVectorEnv
from tests.agent.evaluation.test_exact import untrained
from tests.agent.training.test_training import tiny
from tests.support.hypergrid import HypergridKernel, HypergridReward
from tests.support.worlds import SPACES, kernel

OBJECTIVES = [
    ("trajectory_balance", 0.9),
    ("sub_trajectory_balance", 0.9),
    ("sub_trajectory_balance", 0.5),
    ("detailed_balance", 0.9),
    ("log_partition_variance", 0.9),
]
SMALL = [name for name in SPACES if name != "large"]


def log_reward(states: np.ndarray) -> np.ndarray:
    return 0.3 * states[:, 0] - 0.2 * states[:, 1] + 0.1 * states[:, 2]


def policy_for(k: TransitionKernel, objective: str, learned_backward: bool) -> Policy:
    """Heads far from uniform, log Z = 0.7, and a flow head where the objective has one."""
    flows = objective in ("detailed_balance", "sub_trajectory_balance")
    generator = torch.Generator().manual_seed(3)
    policy = Policy(
        k.token_factors,
        k.action_factors,
        k.n_backward_actions,
        [32, 32],
        learned_backward,
        generator,
        state_flow=flows,
    )
    with torch.no_grad():
        policy.log_z.fill_(0.7)
        for head in (policy.head, policy.backward_head, policy.flow_head):
            for parameter in () if head is None else head.parameters():
                parameter.mul_(30)
    return policy


@pytest.mark.parametrize("name", SMALL)
def test_masks_and_steps_equal_the_kernel(name: str) -> None:
    k = kernel(name)
    env = TorchGFNEnv(k, log_reward, debug=True)
    world = k.enumerate()
    states = env.all_states
    assert np.array_equal(states.forward_masks.numpy(), k.forward_allowed(world.states))
    row, backward = np.nonzero(k.backward_allowed(world.states))
    expected = np.zeros((len(world.states), k.n_actions - 1), dtype=bool)
    expected[row, k.redo_action(world.states[row], backward)] = True
    assert np.array_equal(states.backward_masks.numpy(), expected)
    parents = env.states_from_tensor(states.tensor[torch.from_numpy(world.parent)])
    actions = env.actions_from_tensor(torch.from_numpy(world.action)[:, None])
    after = env._step(parents, actions)
    assert np.array_equal(env.get_states_indices(after).numpy(), world.child)
    back = env._backward_step(after, actions)
    assert np.array_equal(env.get_states_indices(back).numpy(), world.parent)


@pytest.mark.parametrize("name", SPACES)
def test_all_faces_agree_step_for_step_on_rollout_trajectories(name: str, rng: np.random.Generator) -> None:
    """Rollout, single env, vector env and torchgfn: the same states, masks and ends along the same trajectories."""
    k = kernel(name)
    n = 6
    with torch.no_grad():
        rollout = forward_rollout(k, untrained(k), n, rng, epsilon=0.5)
    env = TorchGFNEnv(k, log_reward, debug=True)
    single = KernelEnv(k, log_reward, strict=True)
    # Rows whose trajectory is over start another one (NEXT_STEP) with actions that may be illegal there: not strict.
    vector = KernelVectorEnv(k, log_reward, num_envs=n)
    observations, _ = vector.reset()
    paths = [np.flatnonzero(rollout.member == i) for i in range(n)]
    for i, path in enumerate(paths):
        observation, info = single.reset()
        states = env.reset(batch_shape=1)
        for step, position in enumerate(path):
            action = rollout.actions[position]
            assert np.array_equal(observation, rollout.states[position])
            assert np.array_equal(info["action_mask"], states.forward_masks[0].numpy())
            assert np.array_equal(states.tensor[0].numpy(), observation[:-1])
            observation, reward, terminated, _, info = single.step(action)
            states = env._step(states, env.actions_from_tensor(torch.tensor([[action]])))
            assert terminated == bool(states.is_sink_state.item()) == (step == len(path) - 1)
        assert np.array_equal(observation, rollout.terminal[i])
        assert reward == pytest.approx(float(log_reward(rollout.terminal[i : i + 1])[0]))
    for step in range(max(map(len, paths))):
        running = np.array([step < len(path) for path in paths])
        positions = np.array([path[min(step, len(path) - 1)] for path in paths])
        assert np.array_equal(observations[running], rollout.states[positions[running]])
        assert vector.action_masks()[np.flatnonzero(running), rollout.actions[positions[running]]].all()
        observations, rewards, ended, _, _ = vector.step(rollout.actions[positions])
        last = np.array([step == len(path) - 1 for path in paths])
        assert np.array_equal(ended[running], last[running])
        assert np.allclose(rewards[last], log_reward(rollout.terminal[last]))


def test_two_dimensional_batches_and_the_sink() -> None:
    env = TorchGFNEnv(kernel("hard"), debug=True)
    grid = env.states_from_tensor(env.all_states.tensor[:6].reshape(2, 3, -1))
    assert grid.forward_masks.shape == (2, 3, env.n_actions)
    assert grid.backward_masks.shape == (2, 3, env.n_actions - 1)
    sink = env.states_from_batch_shape((2,), sink=True)
    assert not sink.forward_masks.any()
    assert not sink.backward_masks.any()


@pytest.mark.parametrize("backward", ["uniform", "learned"])
@pytest.mark.parametrize(("objective", "lamda"), OBJECTIVES)
@pytest.mark.parametrize("name", ["hard", "hard_canonical", "groups", "hypergrid"])
def test_loss_and_gradients_equal_torchgfn_on_its_own_trajectories(
    name: str, objective: str, lamda: float, backward: str
) -> None:
    """What training computes, and what torchgfn does, of one policy on trajectories that torchgfn drew."""
    k = HypergridKernel() if name == "hypergrid" else kernel(name)
    policy = policy_for(k, objective, backward == "learned")
    env = TorchGFNEnv(k, log_reward, debug=True)
    model = Heads(policy).gflownet(objective, env, lamda)
    torch.manual_seed(5)
    with torch.no_grad():
        trajectories = model.sample_trajectories(env, n=32, save_logprobs=False)
    loss = model.loss_from_trajectories(env, trajectories, recalculate_all_logprobs=True)
    policy.zero_grad()
    loss.backward()
    theirs = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}

    terminal, offsets, states, actions = ragged(trajectories)
    learner = GFlowNetLearner(
        tiny(objective=objective, sub_trajectory_lambda=lamda), k, policy, np.random.default_rng(0)
    )
    learner.partition.started[:] = True
    t = evaluate(k, policy, terminal, offsets, states, actions)
    ours = learner._loss(t, torch.from_numpy(log_reward(terminal)))
    policy.zero_grad()
    ours.backward()
    mine = {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    assert mine.keys() == theirs.keys()
    assert ("log_z" in mine) == (objective != "log_partition_variance")
    assert ("backward_head.weight" in mine) == (backward == "learned")
    # A bias is a sum in which nearly everything may cancel, so the scale is that of its whole layer.
    scale = dict.fromkeys(map(layer, theirs), 0.0)
    for parameter, gradient in theirs.items():
        scale[layer(parameter)] = max(scale[layer(parameter)], float(gradient.abs().max()))
    if name == "hard_canonical" and backward == "learned":  # one parent each: no gradient, in ours to rounding
        assert scale["backward_head"] == 0
        scale["backward_head"] = 0.1
    assert min(scale.values()) > 0
    for parameter, gradient in theirs.items():
        assert float((mine[parameter] - gradient).abs().max()) < 1e-5 * scale[layer(parameter)], parameter


def layer(parameter: str) -> str:
    """The layer that a parameter belongs to; log Z is a bias of the state flows."""
    return "flow_head" if parameter == "log_z" else parameter.split(".")[0].removesuffix("_bias")


@pytest.mark.parametrize("name", ["hard", "groups", "hypergrid"])
def test_learned_backward_probabilities_and_draws_are_ours(name: str) -> None:
    """P_B of torchgfn's backward sampler, along trajectories that it draws itself from the last states back."""
    k = HypergridKernel(2, 5) if name == "hypergrid" else kernel(name)
    policy = policy_for(k, "trajectory_balance", True)
    env = TorchGFNEnv(k, log_reward, debug=True)
    model = Heads(policy).gflownet("trajectory_balance", env)
    states = env.terminating_states
    torch.manual_seed(2)
    with torch.no_grad():
        back = Sampler(model.pb).sample_trajectories(env, states=states, save_logprobs=True)
        t = back.reverse_backward_trajectories()
        expected = evaluate(k, policy, *ragged(t))
    theirs = back.log_probs.sum(dim=0)
    assert np.allclose(expected.total(expected.log_pb).numpy(), theirs.numpy(), atol=1e-5)
    assert float(theirs.std()) > 0.1


@pytest.mark.parametrize("name", ["hard", "groups", "hypergrid"])
def test_exact_distribution_from_torchgfns_probabilities(name: str) -> None:
    """torchgfn has no exact terminating distribution; pushed through the graph, its P_F gives ours."""
    k = HypergridKernel() if name == "hypergrid" else kernel(name)
    policy = policy_for(k, "trajectory_balance", False)
    env = TorchGFNEnv(k, log_reward)
    model = Heads(policy).gflownet("trajectory_balance", env)
    with torch.no_grad():
        p = model.pf.to_probability_distribution(env.all_states, model.pf(env.all_states)).probs.double().numpy()
    with np.errstate(divide="ignore"):
        theirs = terminating_distribution(env.world, np.log(p))
    ours = terminating_distribution(env.world, action_log_probabilities(k, policy, env.world.states))
    assert ours.max() > 1.5 / len(ours)
    assert np.abs(theirs - ours).max() < 1e-5 * ours.max()


def test_the_hypergrid_is_torchgfns() -> None:
    """Rewards of all cells, log Z, masks and steps of the kernel that published figures are repeated on."""
    k = HypergridKernel(2, 16)
    reward = HypergridReward()
    ours = TorchGFNEnv(k, lambda states: reward(k.objects(states)).log_reward)
    theirs = HyperGrid(
        ndim=2,
        height=16,
        reward_fn_str="original",
        reward_fn_kwargs={"R0": 0.1, "R1": 0.5, "R2": 2.0},
        store_all_states=True,
    )
    cells = theirs.states_from_tensor(ours.all_states.tensor)
    assert len(ours.all_states) == theirs.n_states == 256
    assert np.allclose(ours.reward(ours.all_states).numpy(), theirs.reward(cells).numpy(), rtol=1e-6)
    assert ours.log_partition() == pytest.approx(theirs.log_partition(), abs=1e-5)
    assert ours.log_partition() == pytest.approx(4.1836, abs=5e-5)
    assert torch.equal(ours.all_states.forward_masks, cells.forward_masks)
    assert torch.equal(ours.all_states.backward_masks, cells.backward_masks)
    world = ours.world
    parents, actions = world.states[world.parent][:, :-1].astype(np.int64), world.action[:, None]
    after = theirs._step(
        theirs.states_from_tensor(torch.from_numpy(parents)), theirs.actions_from_tensor(torch.from_numpy(actions))
    )
    assert np.array_equal(after.tensor.numpy(), world.states[world.child][:, :-1])


def test_an_objective_without_what_it_needs_is_refused() -> None:
    env = TorchGFNEnv(kernel("hard"))
    heads = Heads(policy_for(env.kernel, "trajectory_balance", False))
    with pytest.raises(ValueError, match="detailed_balance balances state flows; expected log_flow, got None"):
        heads.gflownet("detailed_balance", env)
    with pytest.raises(ValueError, match="no objective 'gae'"):
        heads.gflownet("gae", env)


def test_our_rollout_carries_the_same_log_probabilities(rng: np.random.Generator) -> None:
    k = kernel("groups")
    policy = untrained(k)
    with torch.no_grad():
        trajectories = forward_rollout(k, policy, 50, rng)
    log_pf = action_log_probabilities(k, policy, trajectories.states)[
        np.arange(len(trajectories.actions)), trajectories.actions
    ]
    assert np.allclose(trajectories.log_pf.numpy(), log_pf, atol=1e-5)
    after = k.step(trajectories.states, trajectories.actions)
    assert np.allclose(trajectories.log_pb.numpy(), -np.log(k.backward_allowed(after).sum(axis=1)), atol=1e-6)
    ends = after[k.is_terminal(after)]
    assert {row.tobytes() for row in ends} == {row.tobytes() for row in trajectories.terminal}


def test_validation_agrees_with_the_exact_distribution() -> None:
    """torchgfn's own sampler and validation, and our exact distribution, judge one policy alike."""
    k = kernel("hard")
    policy = policy_for(k, "trajectory_balance", False)
    env = TorchGFNEnv(k, log_reward)
    world = env.world
    learned = terminating_distribution(world, action_log_probabilities(k, policy, world.states))
    exact_l1 = float(np.abs(learned - env.true_dist().numpy()).sum())
    torch.manual_seed(1)
    with torch.no_grad():
        report, _ = env.validate(Heads(policy).gflownet("trajectory_balance", env), n_validation_samples=20_000)
    assert exact_l1 > 0.5
    assert report["l1_dist"] == pytest.approx(exact_l1, abs=0.05)
    assert report["logZ_diff"] == pytest.approx(abs(0.7 - env.log_partition()), abs=1e-4)
