"""torchgfn's `DiscreteEnv` over any transition kernel: torchgfn's objectives, samplers and validation run on it.

The only file that imports torchgfn (`pip install oreflow[torchgfn]`). torchgfn's conventions differ in three points:
its backward action i undoes forward action i (so backward masks are one column shorter than forward masks), stopping
leads to a sink outside the state space, and masks are computed by the states class.
"""

import numpy as np
import torch
from gfn.actions import Actions
from gfn.env import DiscreteEnv
from gfn.states import DiscreteStates

from envs.protocol import EnumeratedWorld, Scorer, TransitionKernel
from envs.single import uniform_scorer


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
        s0 = torch.zeros(kernel.state_shape[0] - 1, dtype=torch.int64)
        super().__init__(kernel.n_actions, s0, tuple(s0.shape), sf=torch.full_like(s0, -1))
        self.debug = debug

    def _kernel_states(self, tensor: torch.Tensor, stopped: int = 0) -> np.ndarray:
        """torchgfn states [..., n] as kernel states [rows, n + 1]; sinks become terminal."""
        flat = tensor.detach().cpu().numpy().reshape(-1, tensor.shape[-1])
        states = self.kernel.initial(len(flat))
        states[:, :-1] = np.maximum(flat, 0)
        states[:, -1] = np.where((flat < 0).any(axis=1), 1, stopped)
        return states

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
                allowed = env.kernel.forward_allowed(env._kernel_states(self.tensor))
                return torch.from_numpy(allowed).view(*self.batch_shape, -1)

            def _compute_backward_masks(self) -> torch.Tensor:
                states = env._kernel_states(self.tensor)
                states[states[:, -1] == 1] = 0  # the sink has no backward action here
                row, backward = np.nonzero(env.kernel.backward_allowed(states))
                masks = np.zeros((len(states), env.n_actions - 1), dtype=np.bool_)
                masks[row, env.kernel.redo_action(states[row], backward)] = True
                return torch.from_numpy(masks).view(*self.batch_shape, -1)

        return KernelStates

    def step(self, states: DiscreteStates, actions: Actions) -> DiscreteStates:
        """Forward transition; torchgfn never passes stop or sinks here."""
        after = self.kernel.step(self._kernel_states(states.tensor), actions.tensor.reshape(-1).cpu().numpy())
        return self._wrap(after)

    def backward_step(self, states: DiscreteStates, actions: Actions) -> DiscreteStates:
        """Undoes the forward actions `actions`."""
        backward = self.kernel.inverse_action(actions.tensor.reshape(-1).cpu().numpy())
        return self._wrap(self.kernel.unstep(self._kernel_states(states.tensor), backward))

    def _wrap(self, states: np.ndarray) -> DiscreteStates:
        return self.states_from_tensor(torch.from_numpy(states[:, :-1].astype(np.int64)))

    def log_reward(self, states: DiscreteStates) -> torch.Tensor:
        """log R, float32, of the objects that stopping in `states` yields."""
        log_reward = self.scorer(self._kernel_states(states.tensor, stopped=1))
        return torch.from_numpy(log_reward.astype(np.float32)).view(states.batch_shape)

    def reward(self, states: DiscreteStates) -> torch.Tensor:
        """R, float32."""
        return self.log_reward(states).exp()

    @property
    def world(self):
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

    def _indices(self, states: DiscreteStates, numbering: np.ndarray) -> torch.Tensor:
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
