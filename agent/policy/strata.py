"""Strata of a world by the first action, such as space groups, and the share of the draws that each is to have.

Where shares are prescribed the first action is drawn from them, not learned: P(x) = p(g) R(x)/Z_g, with g the first
action of x and Z_g the sum of R over all objects that begin with it. Prescribed may also be that p(g) is proportional
to a power of Z_g: the shares then follow the learned log Z_g until the training ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Floats, Ints, States
from oreflow.envs.contract.protocol import TransitionKernel


@dataclass(frozen=True)
class Strata:
    """The first actions of a world, in ascending order, and their shares.

    Attributes:
        actions: int64 [stratum].
        roots: states [stratum, *state_shape] after them.
        log_share: float64 [stratum], log p(g); they sum to one.
        names: what each is called.
        power: where p(g) is proportional to Z_g^power; None where the shares are given. `log_share` is then written to
            as log Z_g is learned; nothing is trained by it.
    """

    actions: Ints
    roots: States
    log_share: Floats
    names: tuple[str, ...]
    power: float | None = None

    def __len__(self) -> int:
        return len(self.actions)

    def draw(self, n: int, rng: np.random.Generator) -> Ints:
        """Draw strata by their shares, int64 [n]."""
        return rng.choice(len(self), size=n, p=np.exp(self.log_share))

    def of_roots(self, states: States) -> Ints:
        """Name the stratum of each of these states after a first action, int64 [batch]; -1 for one without a share."""
        place = {root.tobytes(): index for index, root in enumerate(self.roots)}
        return np.array([place.get(np.ascontiguousarray(state).tobytes(), -1) for state in states], dtype=np.int64)

    def of_objects(self, kernel: TransitionKernel, terminal: States) -> Ints:
        """Name the stratum of each terminal state, int64 [batch], by taking it apart to its first action.

        One without a share has -1.
        """
        out = np.full(len(terminal), -1, dtype=np.int64)
        rows, states = np.arange(len(terminal)), terminal
        while len(states):
            allowed = kernel.backward_allowed(states)
            parents = kernel.unstep(states, allowed.argmax(axis=1))
            at_root = ~kernel.backward_allowed(parents).any(axis=1)
            out[rows[at_root]] = self.of_roots(states[at_root])
            rows, states = rows[~at_root], parents[~at_root]
        return out

    def follow(self, log_z: Floats) -> None:
        """Set the shares to the power of the Z of each stratum, from log Z, float64 [stratum]."""
        assert self.power is not None
        scaled = self.power * log_z
        self.log_share[:] = scaled - np.logaddexp.reduce(scaled)

    def log_probabilities(self, n_actions: int) -> Floats:
        """Write the shares out over all first actions, float64 [n_actions]; -inf for what is none."""
        out = np.full(n_actions, -np.inf)
        out[self.actions] = self.log_share
        return out


def strata_of(
    kernel: TransitionKernel, share: Sequence[float] | Floats, names: Sequence[str], power: float | None = None
) -> Strata:
    """Make the strata of a kernel's first actions.

    Args:
        kernel: whose objects have one first action each.
        share: of each allowed first action, in ascending order of the actions; 0 leaves a stratum out.
        names: likewise.
        power: of Z_g, to which the shares are to be proportional; `share` is then what they begin with.
    """
    weights = np.asarray(share, dtype=np.float64)
    kept = np.flatnonzero(weights > 0)
    actions = first_actions(kernel)[kept]
    roots = kernel.step(kernel.initial(len(actions)), actions)
    log_share = np.log(weights[kept]) - np.log(weights[kept].sum())
    return Strata(actions, roots, log_share, tuple(names[i] for i in kept.tolist()), power)


def first_actions(kernel: TransitionKernel) -> Ints:
    """List what may be done first, int64, ascending."""
    return np.flatnonzero(kernel.forward_allowed(kernel.initial(1))[0])


def impose_shares(strata: Strata, kernel: TransitionKernel, states: States, log_p: Floats) -> None:
    """Put the shares in the place of the log-probabilities [state, n_actions] of the initial state."""
    axes = tuple(range(1, states.ndim))
    log_p[(states == kernel.initial(1)).all(axis=axes)] = strata.log_probabilities(log_p.shape[1])
