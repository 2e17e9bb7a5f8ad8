"""All states of a small world, level by level, for any kernel whose states know how many steps led to them."""

import numpy as np

from oreflow.envs.contract.protocol import EnumeratedWorld, TransitionKernel


class TooManyStatesError(Exception):
    """More states than the limit."""


def enumerate_states(kernel: TransitionKernel, limit: int | None = None) -> EnumeratedWorld:
    """Walks forward from the initial state.

    Raises:
        TooManyStatesError: beyond `limit` states.
    """
    levels, parents, children, actions, stops = [kernel.initial(1)], [], [], [], []
    first = 0
    while len(levels[-1]):
        states = levels[-1]
        if limit is not None and first + len(states) > limit:
            raise TooManyStatesError
        allowed = kernel.forward_allowed(states)
        stops.append(allowed[:, -1])
        row, action = np.nonzero(allowed[:, :-1])
        following, inverse = np.unique(kernel.step(states[row], action), axis=0, return_inverse=True)
        parents.append(first + row)
        children.append(first + len(states) + inverse.reshape(-1))
        actions.append(action)
        first += len(states)
        levels.append(following.reshape(-1, *kernel.state_shape))
    return EnumeratedWorld(
        np.concatenate(levels),
        np.concatenate(parents),
        np.concatenate(children),
        np.concatenate(actions),
        np.concatenate(stops),
    )
