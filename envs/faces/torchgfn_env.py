"""torchgfn's `DiscreteEnv` over any transition kernel: torchgfn's objectives, samplers and validation run on it.

The only file that imports torchgfn (`pip install oreflow[torchgfn]`). torchgfn's conventions differ in three points:
its backward action i undoes forward action i (so backward masks are one column shorter than forward masks), stopping
leads to a sink outside the state space, and masks are computed by the states class.

Where a state may be reached by one forward action from several parents (an element put on either of two Wyckoff
positions), the action's number cannot say which parent a backward step leads to. A kernel names such actions in
`ambiguous_actions`; each becomes as many actions here as there are backward actions, and in each state the one is
allowed that is undone by the backward action it is numbered with. Probabilities stay as they are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gfn.actions import Actions
from gfn.containers import Trajectories
from gfn.env import DiscreteEnv
from gfn.estimators import DiscretePolicyEstimator, ScalarEstimator
from gfn.gflownet import DBGFlowNet, LogPartitionVarianceGFlowNet, SubTBGFlowNet, TBGFlowNet
from gfn.preprocessors import Preprocessor
from gfn.states import DiscreteStates
from gfn.utils.prob_calculations import get_trajectory_pfs_and_pbs

from oreflow.envs.arrays import Bools, Floats, Ints, States
from oreflow.envs.contract.protocol import EnumeratedWorld, Scorer, TransitionKernel
from oreflow.envs.faces.single import uniform_scorer


class TorchGFNEnv(DiscreteEnv):
    """States are the kernel's states without the stopped flag, as int64 tensors; the sink is filled with -1.

    Args:
        kernel: any kernel whose last state entry is the stopped flag.
        scorer: log R of terminal states; uniform when None.
        debug: torchgfn's runtime checks, legality of actions among them.

    Raises:
        ValueError: from the enumeration properties when the kernel's world is too large.
    """

    def __init__(self, kernel: TransitionKernel, scorer: Scorer | None = None, debug: bool = False) -> None:
        self.kernel = kernel
        self.scorer = scorer or uniform_scorer
        self._world: EnumeratedWorld | None = None
        # Kernels without ambiguous actions need not say so.
        self._ambiguous: range = getattr(kernel, "ambiguous_actions", range(0))
        copies = np.ones(kernel.n_actions, dtype=np.int64)
        copies[self._ambiguous.start : self._ambiguous.stop] = kernel.n_backward_actions
        self.kernel_action = np.repeat(np.arange(kernel.n_actions), copies)  # of each action here
        self._first_copy = np.cumsum(copies) - copies
        s0 = torch.zeros(kernel.state_shape[0] - 1, dtype=torch.int64)
        super().__init__(len(self.kernel_action), s0, tuple(s0.shape), sf=torch.full_like(s0, -1))
        self.debug = debug

    def _kernel_states(self, tensor: torch.Tensor, stopped: int = 0) -> States:
        """torchgfn states [..., n] as kernel states [rows, n + 1]; sinks become terminal."""
        flat = tensor.detach().cpu().numpy().reshape(-1, tensor.shape[-1])
        states = self.kernel.initial(len(flat))
        states[:, :-1] = np.maximum(flat, 0)
        states[:, -1] = np.where((flat < 0).any(axis=1), 1, stopped)
        return states

    def _is_ambiguous(self, actions: Ints) -> Bools:
        return (actions >= self._ambiguous.start) & (actions < self._ambiguous.stop)

    def _numbers(self, actions: Ints, backward: Ints) -> Ints:
        """Our numbers of the kernel's forward actions, given the backward actions that undo them."""
        return self._first_copy[actions] + np.where(self._is_ambiguous(actions), backward, 0)

    def numbers_of(self, states: States, actions: Ints) -> Ints:
        """torchgfn's numbers, int64 [batch], of the kernel's forward actions in the kernel's states."""
        backward = np.zeros(len(actions), dtype=np.int64)
        which = np.flatnonzero(self._is_ambiguous(actions))
        if len(which):
            backward[which] = self.kernel.inverse_action(states[which], actions[which])
        return self._numbers(actions, backward)

    def make_states_class(self) -> type[DiscreteStates]:
        """States whose masks are the kernel's, for batches of any number of dimensions."""
        env = self

        class KernelStates(DiscreteStates):
            state_shape = env.state_shape
            s0 = env.s0
            sf = env.sf
            make_random_states = env.make_random_states
            n_actions = env.n_actions

            def _compute_forward_masks(self) -> torch.Tensor:
                states = env._kernel_states(self.tensor)
                allowed = env.kernel.forward_allowed(states)
                if env._ambiguous:
                    row, action = np.nonzero(allowed)
                    allowed = np.zeros((len(states), env.n_actions), dtype=np.bool_)
                    allowed[row, env.numbers_of(states[row], action)] = True
                return torch.from_numpy(allowed).view(*self.batch_shape, -1)

            def _compute_backward_masks(self) -> torch.Tensor:
                row, _, column = env.backward_columns(self.tensor)
                masks = torch.zeros(self.tensor[..., 0].numel(), env.n_actions - 1, dtype=torch.bool)
                masks[row, column] = True
                return masks.view(*self.batch_shape, -1)

        return KernelStates

    def backward_columns(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Allowed backward actions of torchgfn states [..., n]: row, kernel's number and torchgfn's number of each."""
        states = self._kernel_states(tensor)
        states[states[:, -1] == 1] = 0  # the sink has no backward action here
        row, backward = np.nonzero(self.kernel.backward_allowed(states))
        column = self._numbers(self.kernel.redo_action(states[row], backward), backward)
        return torch.from_numpy(row), torch.from_numpy(backward), torch.from_numpy(np.asarray(column, dtype=np.int64))

    def step(self, states: DiscreteStates, actions: Actions) -> DiscreteStates:
        """Forward transition; torchgfn never passes stop or sinks here."""
        taken = self.kernel_action[actions.tensor.reshape(-1).cpu().numpy()]
        return self._wrap(self.kernel.step(self._kernel_states(states.tensor), taken))

    def backward_step(self, states: DiscreteStates, actions: Actions) -> DiscreteStates:
        """Undoes the forward actions `actions`."""
        row, backward, column = self.backward_columns(states.tensor)
        taken = column == actions.tensor.reshape(-1).cpu()[row]
        chosen = np.empty(states.tensor[..., 0].numel(), dtype=np.int64)
        chosen[row[taken].numpy()] = backward[taken].numpy()
        return self._wrap(self.kernel.unstep(self._kernel_states(states.tensor), chosen))

    def _wrap(self, states: States) -> DiscreteStates:
        return self.states_from_tensor(torch.from_numpy(states[:, :-1].astype(np.int64)))

    def log_reward(self, states: DiscreteStates) -> torch.Tensor:
        """log R, float32, of the objects that stopping in `states` yields."""
        log_reward = self.scorer(self._kernel_states(states.tensor, stopped=1))
        return torch.from_numpy(log_reward.astype(np.float32)).view(states.batch_shape)

    def reward(self, states: DiscreteStates) -> torch.Tensor:
        """R, float32."""
        return self.log_reward(states).exp()

    @property
    def world(self) -> EnumeratedWorld:
        """The kernel's enumerated world."""
        if self._world is None:
            self._world = self.kernel.enumerate()
        return self._world

    @property
    def all_states(self) -> DiscreteStates:
        """All non-sink states, in the kernel's order."""
        return self._wrap(self.world.states)

    @property
    def terminating_states(self) -> DiscreteStates:
        """All states in which stop is allowed."""
        return self._wrap(self.world.states[self.world.can_stop])

    @property
    def n_states(self) -> int:
        """Number of non-sink states."""
        return len(self.world.states)

    @property
    def n_terminating_states(self) -> int:
        """Number of objects."""
        return self.world.n_objects

    def get_states_indices(self, states: DiscreteStates) -> torch.Tensor:
        """Index into `all_states`."""
        return self._indices(states, np.arange(self.n_states))

    def get_terminating_states_indices(self, states: DiscreteStates) -> torch.Tensor:
        """Index into `terminating_states`."""
        return self._indices(states, np.cumsum(self.world.can_stop) - 1)

    def _indices(self, states: DiscreteStates, numbering: Ints) -> torch.Tensor:
        index = {row.tobytes(): int(i) for row, i in zip(self.world.states, numbering)}
        wanted = self._kernel_states(states.tensor)
        return torch.tensor([index[row.tobytes()] for row in wanted], dtype=torch.int64).view(states.batch_shape)

    def true_dist(self, condition: torch.Tensor | None = None) -> torch.Tensor:
        """R/Z over `terminating_states`, float32."""
        return torch.softmax(self._log_rewards(), dim=0).float()

    def log_partition(self, condition: torch.Tensor | None = None) -> float:
        """log Z."""
        return float(torch.logsumexp(self._log_rewards(), dim=0))

    def _log_rewards(self) -> torch.Tensor:
        states = self.world.states[self.world.can_stop].copy()
        states[:, -1] = 1
        return torch.from_numpy(self.scorer(states))


Logits = Callable[[torch.Tensor], torch.Tensor]
"""From the kernel's tokens, int64 [state, token], to a row a state. An `nn.Module` brings its parameters along."""


class _Tokens(Preprocessor):
    """torchgfn states to the kernel's tokens, int64 [*batch_shape, token]."""

    def __init__(self, env: TorchGFNEnv) -> None:
        super().__init__(output_dim=None)
        self.env = env

    def preprocess(self, states: DiscreteStates) -> torch.Tensor:
        tokens = self.env.kernel.encode(self.env._kernel_states(states.tensor))
        return torch.from_numpy(tokens).view(*states.batch_shape, -1)


class _ForwardEstimator(DiscretePolicyEstimator):
    """P_F from logits of the kernel's forward actions: all copies of an ambiguous one have its logit."""

    def forward(self, states: DiscreteStates) -> torch.Tensor:
        logits = self.module(self.preprocessor(states))
        env = self.preprocessor.env
        if not env._ambiguous:
            return logits
        return logits.index_select(-1, torch.from_numpy(env.kernel_action))


class _BackwardEstimator(DiscretePolicyEstimator):
    """P_B from logits of the kernel's backward actions, each put where torchgfn looks for the action that it undoes."""

    def forward(self, states: DiscreteStates) -> torch.Tensor:
        logits = self.module(self.preprocessor(states))
        logits = logits.view(-1, logits.shape[-1])
        row, backward, column = self.preprocessor.env.backward_columns(states.tensor)
        placed = logits.new_zeros(len(logits), self.n_actions - 1)
        return placed.index_put((row, column), logits[row, backward]).view(*states.batch_shape, -1)


class _LogFlow(torch.nn.Module):
    """log F as torchgfn takes it: float32, so that it can stand beside its rewards, in a column."""

    def __init__(self, log_flow: Logits) -> None:
        super().__init__()
        self.log_flow = log_flow

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.log_flow(tokens).float().unsqueeze(-1)


def make_gflownet(
    objective: str,
    env: TorchGFNEnv,
    forward_logits: Logits,
    backward_logits: Logits | None = None,
    *,
    log_z: torch.nn.Parameter | None = None,
    log_flow: Logits | None = None,
    sub_trajectory_lambda: float = 0.9,
) -> TBGFlowNet | DBGFlowNet | SubTBGFlowNet | LogPartitionVarianceGFlowNet:
    """torchgfn's GFlowNet of an objective, named as in our configs.

    Args:
        objective: trajectory_balance, detailed_balance, sub_trajectory_balance (weights lambda ** length within each
            trajectory) or log_partition_variance.
        forward_logits: logits of the kernel's own forward actions [state, n_actions].
        backward_logits: logits of the kernel's own backward actions [state, n_backward_actions]; P_B is uniform over
            the parents when None.
        log_z: the scalar that trajectory balance learns; a new one from 0 when None.
        log_flow: log F, [state], for detailed and sub-trajectory balance.

    Raises:
        ValueError: for an objective that torchgfn does not have, or one that lacks its `log_flow`.
    """
    tokens = _Tokens(env)
    pf = _ForwardEstimator(forward_logits, env.n_actions, preprocessor=tokens)
    if backward_logits is None:
        pb = DiscretePolicyEstimator.uniform(env.n_actions, preprocessor=tokens)
    else:
        pb = _BackwardEstimator(backward_logits, env.n_actions, preprocessor=tokens, is_backward=True)
    match objective:
        case "trajectory_balance":
            model = TBGFlowNet(pf=pf, pb=pb)
            if log_z is not None:
                model.logZ = log_z  # not by the constructor, which takes a log Z of 0 for none
            return model
        case "log_partition_variance":
            return LogPartitionVarianceGFlowNet(pf=pf, pb=pb)
        case "detailed_balance" | "sub_trajectory_balance":
            if log_flow is None:
                raise ValueError(f"{objective} balances state flows; expected log_flow, got None")
            flow = ScalarEstimator(_LogFlow(log_flow), preprocessor=tokens)
            if objective == "detailed_balance":
                return DBGFlowNet(pf=pf, pb=pb, logF=flow)
            return SubTBGFlowNet(pf=pf, pb=pb, logF=flow, weighting="geometric_within", lamda=sub_trajectory_lambda)
    raise ValueError(f"torchgfn has no objective {objective!r} here")


def ragged(trajectories: Trajectories) -> tuple[States, Ints, States, Ints]:
    """Read torchgfn's padded trajectories member by member.

    Returns:
        Terminal states [batch, *state_shape], offsets [batch + 1], states [step, *state_shape] before each action, and
        the kernel's actions [step].
    """
    env, length = trajectories.env, trajectories.terminating_idx.numpy()
    running = torch.from_numpy(np.arange(trajectories.max_length) < length[:, None])
    states = env._kernel_states(trajectories.states.tensor[:-1].transpose(0, 1)[running])
    actions = env.kernel_action[trajectories.actions.tensor[..., 0].T[running].numpy()]
    return terminal_states(trajectories), np.concatenate([[0], np.cumsum(length)]), states, actions


def terminal_states(trajectories: Trajectories) -> States:
    """The kernel's terminal states, [batch, *state_shape], that trajectories end in."""
    return trajectories.env._kernel_states(trajectories.terminating_states.tensor, stopped=1)


def with_rewards(trajectories: Trajectories, log_reward: Floats, keep: Bools) -> Trajectories:
    """The members where `keep`, bool [batch], is true, with log R, [batch], given instead of asked from the env."""
    given = Trajectories(
        env=trajectories.env,
        states=trajectories.states,
        actions=trajectories.actions,
        terminating_idx=trajectories.terminating_idx,
        log_rewards=torch.from_numpy(log_reward.astype(np.float32)),
        log_probs=trajectories.log_probs,
    )
    return given if keep.all() else given[torch.from_numpy(np.flatnonzero(keep))]


def log_partition_estimates(model: Any, trajectories: Trajectories, recalculate: bool) -> torch.Tensor:
    """What log Z would be by each trajectory, log R + log P_B - log P_F, float32 [batch], without gradient."""
    with torch.no_grad():
        log_pf, log_pb = get_trajectory_pfs_and_pbs(model.pf, model.pb, trajectories, recalculate)
        return trajectories.log_rewards + (log_pb - log_pf).sum(dim=0)
