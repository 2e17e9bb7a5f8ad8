"""Random moves on terminal states of any kernel: every choice uniform among what the masks allow.

A walk is a sequence of actions between two states. Its log-probability can be read in both directions: as forward
actions, each uniform over `forward_allowed` of the state it leaves, and as backward actions, each uniform over
`backward_allowed`. The same states give both, so a move knows the probability of its own reversal.
"""

import math
from typing import NamedTuple

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Ints, States
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.errors import DeadEndError


class _Walk(NamedTuple):
    """Walks of a batch, whichever way they were taken.

    Attributes:
        states: [batch, *state_shape], where the walks ended.
        n_steps: int64 [batch].
        log_forward: float64 [batch], log-probability of the forward actions between the two ends.
        log_backward: float64 [batch], log-probability of the backward actions between the two ends.
    """

    states: States
    n_steps: Ints
    log_forward: Floats
    log_backward: Floats


def random_rollout(kernel: TransitionKernel, states: States, rng: np.random.Generator) -> tuple[States, Floats, Ints]:
    """Uniformly random allowed actions until every member is terminal.

    Args:
        states: [batch, *state_shape], not terminal.

    Returns:
        Terminal states [batch, *state_shape], log-probability of the paths taken (float64 [batch]), and their lengths
        (int64 [batch]).

    Raises:
        DeadEndError: if a state has no allowed action, which would be a defect of the kernel.
    """
    walk = _roll_out(kernel, states, rng)
    return walk.states, walk.log_forward, walk.n_steps


def random_unroll(
    kernel: TransitionKernel, terminal: States, go_on: float, rng: np.random.Generator
) -> tuple[States, Floats, Ints]:
    """Takes terminal states apart: one backward action (un-stop), then a further one with probability `go_on` each.

    A walk ends at the latest in the initial state. The probability of k steps is therefore go_on^(k - 1), times
    1 - go_on unless the initial state was reached.

    Args:
        terminal: [batch, *state_shape].
        go_on: in [0, 1]; 0 only un-stops, 1 goes back to the initial state.

    Returns:
        Non-terminal states [batch, *state_shape], log-probability of the paths and of their lengths (float64 [batch]),
        and the lengths (int64 [batch]).

    Raises:
        DeadEndError: if a terminal state has no backward action, which would be a defect of the kernel.
    """
    walk = _unroll(kernel, terminal, go_on, rng)
    log_length = _log_length(walk.n_steps, _is_initial(kernel, walk.states), go_on)
    return walk.states, log_length + walk.log_backward, walk.n_steps


def back_and_forth(
    kernel: TransitionKernel, terminal: States, go_on: float, rng: np.random.Generator
) -> tuple[States, Floats]:
    """Proposes an object near each given one: unroll to a junction, then roll out from there.

    The proposal of Zhang et al. 2022 (arXiv:2202.01361, section 3.3) with uniform choices and a random number of
    steps back. With m the path taken from x over the junction to y, and m' the same path walked from y to x,

        log_hastings = log q(m' | y) - log q(m | x).

    Metropolis-Hastings with acceptance a(m) = min(1, R(y) / R(x) * exp(log_hastings)) leaves R/Z over objects
    invariant: m and m' determine one another, and R(x) q(m | x) a(m) = R(y) q(m' | y) a(m') holds for each such pair.
    The paths from x to y are the reversals of those from y to x, so the sum over them is R(x) K(x, y) = R(y) K(y, x),
    although q(y | x), itself a sum over paths, is never computed.

    Args:
        terminal: [batch, *state_shape].
        go_on: in [0, 1], as in `random_unroll`.

    Returns:
        Terminal states [batch, *state_shape] and log_hastings, float64 [batch]; -inf where the way back is impossible,
        which happens only for go_on = 0.
    """
    back = _unroll(kernel, terminal, go_on, rng)
    forth = _roll_out(kernel, back.states, rng)
    at_initial = _is_initial(kernel, back.states)
    log_q = _log_length(back.n_steps, at_initial, go_on) + back.log_backward + forth.log_forward
    log_q_reverse = _log_length(forth.n_steps, at_initial, go_on) + forth.log_backward + back.log_forward
    return forth.states, log_q_reverse - log_q


def uniform_actions(allowed: Bools, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """One allowed action a row, uniformly.

    Args:
        allowed: bool [batch, action], at least one True a row.

    Returns:
        Actions (int64 [batch]) and how many there were to choose from (int64 [batch]).
    """
    row, action = np.nonzero(allowed)
    n_choices = np.bincount(row, minlength=len(allowed))
    return action[np.cumsum(n_choices) - n_choices + rng.integers(n_choices)], n_choices


def _roll_out(kernel: TransitionKernel, states: States, rng: np.random.Generator) -> _Walk:
    final, active = states.copy(), np.arange(len(states))
    n_steps, log_forward, log_backward = _zeros(len(states))
    while len(active):
        allowed = kernel.forward_allowed(states)
        _refuse_dead_ends(kernel, states, allowed)
        actions, n_choices = uniform_actions(allowed, rng)
        states = kernel.step(states, actions)
        n_steps[active] += 1
        log_forward[active] -= np.log(n_choices)
        log_backward[active] -= np.log(kernel.backward_allowed(states).sum(axis=1))
        final[active] = states
        running = ~kernel.is_terminal(states)
        active, states = active[running], states[running]
    return _Walk(final, n_steps, log_forward, log_backward)


def _unroll(kernel: TransitionKernel, states: States, go_on: float, rng: np.random.Generator) -> _Walk:
    final, active = states.copy(), np.arange(len(states))
    n_steps, log_forward, log_backward = _zeros(len(states))
    allowed = kernel.backward_allowed(states)
    _refuse_dead_ends(kernel, states, allowed)
    while len(active):
        actions, n_choices = uniform_actions(allowed, rng)
        states = kernel.unstep(states, actions)
        n_steps[active] += 1
        log_backward[active] -= np.log(n_choices)
        log_forward[active] -= np.log(kernel.forward_allowed(states).sum(axis=1))
        final[active] = states
        allowed = kernel.backward_allowed(states)
        running = allowed.any(axis=1) & (rng.random(len(states)) < go_on)
        active, states, allowed = active[running], states[running], allowed[running]
    return _Walk(final, n_steps, log_forward, log_backward)


def _zeros(batch: int) -> tuple[Ints, Floats, Floats]:
    return np.zeros(batch, dtype=np.int64), np.zeros(batch), np.zeros(batch)


def _is_initial(kernel: TransitionKernel, states: States) -> Bools:
    return ~kernel.backward_allowed(states).any(axis=1)


def _log_length(n_steps: Ints, at_initial: Bools, go_on: float) -> Floats:
    """Log-probability that a walk back has this many steps, float64 [batch]."""
    log_go_on, log_end = (math.log(p) if p > 0 else -math.inf for p in (go_on, 1 - go_on))
    # Guarded, because 0 * -inf is not 0.
    log_length = np.where(n_steps > 1, np.maximum(n_steps - 1, 1) * log_go_on, 0.0)
    return log_length + np.where(at_initial, 0.0, log_end)


def _refuse_dead_ends(kernel: TransitionKernel, states: States, allowed: Bools) -> None:
    stuck = ~allowed.any(axis=1)
    if stuck.any():
        raise DeadEndError(f"no action is allowed in state {kernel.describe(states[stuck])[0]!r}")
