"""torchgfn as the referee: its sampler, validation and loss on our kernel agree with ours, number for number."""

import numpy as np
import pytest
import torch
from gfn.gflownet import TBGFlowNet
from gfn.modules import DiscretePolicyEstimator
from gfn.preprocessors import Preprocessor

from agent.exact import action_log_probabilities, terminating_distribution
from agent.losses import trajectory_balance
from agent.policy import Policy, masked_log_softmax
from agent.rollout import forward_rollout
from envs.composition_kernel import CompositionKernel
from envs.single import KernelEnv
from envs.torchgfn_env import TorchGFNEnv
from envs.vector import KernelVectorEnv
from tests.test_exact import untrained
from tests.worlds import SPACES, kernel

SMALL = [name for name in SPACES if name != "large"]


def log_reward(states: np.ndarray) -> np.ndarray:
    return 0.3 * states[:, 0] - 0.2 * states[:, 1] + 0.1 * states[:, 2]


class Tokens(Preprocessor):
    """torchgfn states to the kernel's tokens."""

    def __init__(self, env: TorchGFNEnv) -> None:
        super().__init__(output_dim=env.kernel.max_steps - 1)
        self.env = env

    def preprocess(self, states):
        return torch.from_numpy(self.env.kernel.encode(self.env._kernel_states(states.tensor)))


class ForwardHead(torch.nn.Module):
    """Our policy's forward logits as a torchgfn module."""

    def __init__(self, policy: Policy, input_dim: int) -> None:
        super().__init__()
        self.policy = policy
        self.input_dim = input_dim

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.policy(tokens.reshape(-1, tokens.shape[-1]))[0].reshape(*tokens.shape[:-1], -1)


def torchgfn_model(env: TorchGFNEnv, policy: Policy, k: CompositionKernel) -> TBGFlowNet:
    tokens = Tokens(env)
    forward = DiscretePolicyEstimator(
        ForwardHead(policy, k.max_steps - 1), k.n_actions, preprocessor=tokens, is_backward=False
    )
    backward = DiscretePolicyEstimator(
        Uniform(k.max_steps - 1, k.n_actions - 1), k.n_actions, preprocessor=tokens, is_backward=True
    )
    return TBGFlowNet(pf=forward, pb=backward, init_logZ=0.7)


class Uniform(torch.nn.Module):
    """Equal backward logits: torchgfn's own masks make them uniform over the parents."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.output_dim = output_dim

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*tokens.shape[:-1], self.output_dim)


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


@pytest.mark.parametrize("name", ["hard", "hard_canonical"])
def test_loss_and_gradients_equal_torchgfn_on_its_own_trajectories(name: str) -> None:
    k = kernel(name)
    policy = untrained(k)
    env = TorchGFNEnv(k, log_reward, debug=True)
    model = torchgfn_model(env, policy, k)
    torch.manual_seed(5)
    trajectories = model.sample_trajectories(env, n=32, save_logprobs=False)
    loss = model.loss(env, trajectories, recalculate_all_logprobs=True)
    policy.zero_grad()
    loss.backward()
    theirs = [p.grad.clone() for name, p in policy.named_parameters() if name != "log_z" and p.grad is not None]

    # The same trajectories through our own pieces.
    length = trajectories.terminating_idx.numpy()
    tensors, taken = trajectories.states.tensor, trajectories.actions.tensor[..., 0].numpy()
    states = np.concatenate([env._kernel_states(tensors[: length[i], i]) for i in range(32)])
    actions = np.concatenate([taken[: length[i], i] for i in range(32)])
    member = torch.from_numpy(np.repeat(np.arange(32), length))
    logits, _ = policy(torch.from_numpy(k.encode(states)))
    log_p = masked_log_softmax(logits, torch.from_numpy(k.forward_allowed(states)))
    log_pf = log_p.gather(1, torch.from_numpy(actions)[:, None]).squeeze(1).double()
    after = k.step(states, actions)
    log_pb = -np.log(k.backward_allowed(after).sum(axis=1))
    terminal = after[k.is_terminal(after)]

    def total(x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(32, dtype=torch.float64).index_add(0, member, x)

    ours = trajectory_balance(
        torch.tensor(0.7, dtype=torch.float64),
        total(log_pf),
        total(torch.from_numpy(log_pb)),
        torch.from_numpy(log_reward(terminal)),
    )
    policy.zero_grad()
    ours.backward()
    mine = [p.grad for name, p in policy.named_parameters() if name != "log_z" and p.grad is not None]
    assert ours.item() == pytest.approx(loss.item(), rel=1e-5)
    assert len(mine) == len(theirs) > 4
    for a, b in zip(mine, theirs):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()))


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
    policy = untrained(k)
    env = TorchGFNEnv(k, log_reward)
    world = env.world
    learned = terminating_distribution(world, action_log_probabilities(k, policy, world.states))
    exact_l1 = float(np.abs(learned - env.true_dist().numpy()).sum())
    torch.manual_seed(1)
    with torch.no_grad():
        report, _ = env.validate(torchgfn_model(env, policy, k), n_validation_samples=20_000)
    assert exact_l1 > 0.5
    assert report["l1_dist"] == pytest.approx(exact_l1, abs=0.05)
    assert report["logZ_diff"] == pytest.approx(abs(0.7 - env.log_partition()), abs=1e-4)
