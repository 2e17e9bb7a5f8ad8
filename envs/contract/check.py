"""The public contract test of a transition kernel: one function a clause, each failing with the likely mistake.

from oreflow.envs.contract.check import check_kernel
check_kernel(kernel, np.random.default_rng(0), n=200)
"""

import numpy as np

from oreflow.envs.contract.protocol import TransitionKernel


def check_kernel(kernel: TransitionKernel, rng: np.random.Generator, n: int = 100) -> None:
    """Drives `n` random trajectories through every clause of `TransitionKernel`.

    Raises:
        AssertionError: with the clause that does not hold and what usually causes it.
    """
    states = kernel.initial(n)
    check_initial(kernel, states)
    check_action_blocks(kernel)
    for _ in range(kernel.max_steps):
        allowed = kernel.forward_allowed(states)
        check_forward_mask(kernel, states, allowed)
        check_action_block(kernel, states, allowed)
        moving = ~kernel.is_terminal(states)
        if not moving.any():
            break
        before = states[moving]
        actions = np.argmax(rng.random(allowed[moving].shape) * allowed[moving], axis=1)
        after = kernel.step(before, actions)
        check_inverse(kernel, before, actions, after)
        check_batching(kernel, after)
        states = np.concatenate([states[~moving], after])
    assert kernel.is_terminal(states).all(), f"some trajectory is longer than max_steps = {kernel.max_steps}"
    check_backward_walk(kernel, states, rng)


def check_initial(kernel: TransitionKernel, states: np.ndarray) -> None:
    """Initial states have the stated shape, no backward action, and are not terminal."""
    assert states.shape[1:] == kernel.state_shape, f"state shape is {states.shape[1:]}, declared {kernel.state_shape}"
    assert not kernel.backward_allowed(states).any(), "an initial state allows a backward action"
    assert not kernel.is_terminal(states).any(), "the initial state is terminal"


def check_forward_mask(kernel: TransitionKernel, states: np.ndarray, allowed: np.ndarray) -> None:
    """Masks are boolean, of the right width, and empty exactly for terminal states."""
    assert allowed.dtype == np.bool_, f"forward_allowed must be boolean (True = allowed), got {allowed.dtype}"
    assert allowed.shape == (len(states), kernel.n_actions), f"mask shape {allowed.shape}, n_actions {kernel.n_actions}"
    dead = ~allowed.any(axis=1) & ~kernel.is_terminal(states)
    assert not dead.any(), f"dead end at {kernel.describe(states[dead])[0]}: feasibility admits what cannot be finished"
    open_ends = allowed.any(axis=1) & kernel.is_terminal(states)
    assert not open_ends.any(), f"terminal state {kernel.describe(states[open_ends])[0]} allows a forward action"


def check_action_blocks(kernel: TransitionKernel) -> None:
    """Blocks are ascending action numbers, and hold every action."""
    held = np.zeros(kernel.n_actions, dtype=np.bool_)
    for i, block in enumerate(kernel.action_blocks):
        assert block.dtype == np.int64, f"action block {i} must be int64, got {block.dtype}"
        assert block.ndim == 1, f"action block {i} must have one axis, got shape {block.shape}"
        assert len(block), f"action block {i} is empty: leave it out"
        assert (np.diff(block) > 0).all(), f"action block {i} must ascend, without repetition"
        assert 0 <= block[0] <= block[-1] < kernel.n_actions, f"action block {i} names an action that does not exist"
        held[block] = True
    assert held.all(), f"action {np.argmin(held)} is in no block"


def check_action_block(kernel: TransitionKernel, states: np.ndarray, allowed: np.ndarray) -> None:
    """Each state names a block, and outside of it allows nothing."""
    block = kernel.action_block(states)
    assert block.dtype == np.int64, f"action_block must give int64, got {block.dtype}"
    assert block.shape == (len(states),), f"action_block gives shape {block.shape}, expected ({len(states)},)"
    n_blocks = len(kernel.action_blocks)
    assert ((block >= 0) & (block < n_blocks)).all(), f"action_block lies outside the {n_blocks} blocks"
    holds = np.zeros((n_blocks, kernel.n_actions), dtype=np.bool_)
    for i, actions in enumerate(kernel.action_blocks):
        holds[i, actions] = True
    outside = (allowed & ~holds[block]).any(axis=1)
    assert not outside.any(), f"{kernel.describe(states[outside])[0]} allows an action outside its block"


def check_inverse(kernel: TransitionKernel, before: np.ndarray, actions: np.ndarray, after: np.ndarray) -> None:
    """`step` leaves its input alone; `inverse_action` and `redo_action` are each other's inverse along an edge."""
    copy = before.copy()
    kernel.step(before, actions)
    assert np.array_equal(copy, before), "step changed its input: copy the states first"
    backward = kernel.inverse_action(before, actions)
    allowed = kernel.backward_allowed(after)
    assert allowed.shape == (len(after), kernel.n_backward_actions), f"backward mask has shape {allowed.shape}"
    assert allowed[np.arange(len(after)), backward].all(), "the action just taken cannot be undone"
    assert np.array_equal(kernel.unstep(after, backward), before), "unstep(step(s, a)) differs from s"
    assert np.array_equal(kernel.redo_action(after, backward), actions), "redo_action does not name the action taken"
    stop = actions == kernel.n_actions - 1
    assert np.array_equal(stop, kernel.is_terminal(after)), "stop, and stop alone, must end the trajectory"
    high = kernel.state_high
    assert ((after >= 0) & (after <= high)).all(), "a state lies outside [0, state_high]"


def check_batching(kernel: TransitionKernel, states: np.ndarray) -> None:
    """Masks and tokens of a batch equal those of its rows in any order."""
    order = np.arange(len(states))[::-1]
    allowed, tokens = kernel.forward_allowed(states), kernel.encode(states)
    assert np.array_equal(kernel.forward_allowed(states[order]), allowed[order]), "masks depend on the batch's order"
    out = ~allowed
    assert kernel.forward_allowed(states, out=out) is out, "forward_allowed must return `out` where it is given"
    assert np.array_equal(out, allowed), "masks written into `out` differ"
    assert np.array_equal(kernel.forward_allowed(states[:1]), allowed[:1]), "masks depend on the batch's size"
    assert np.array_equal(kernel.action_block(states[order]), kernel.action_block(states)[order]), (
        "action_block depends on the batch's order"
    )
    assert np.array_equal(kernel.encode(states[:1]), tokens[:1]), "encode depends on the batch's size"
    assert ((tokens >= 0) & (tokens <= kernel.n_tokens)).all(), "a token lies outside [0, n_tokens]"
    assert len(kernel.describe(states)) == len(states), "describe must give one line a state"


def check_backward_walk(kernel: TransitionKernel, states: np.ndarray, rng: np.random.Generator) -> None:
    """Random backward actions reach the initial state, and every parent allows the way back."""
    for _ in range(kernel.max_steps):
        allowed = kernel.backward_allowed(states)
        moving = allowed.any(axis=1)
        if not moving.any():
            break
        states = states[moving]
        backward = np.argmax(rng.random(allowed[moving].shape) * allowed[moving], axis=1)
        parents = kernel.unstep(states, backward)
        redo = kernel.redo_action(states, backward)
        legal = kernel.forward_allowed(parents)[np.arange(len(parents)), redo]
        assert legal.all(), f"{kernel.describe(states[~legal])[0]} has a parent from which it cannot be reached"
        assert np.array_equal(kernel.step(parents, redo), states), "redo_action from the parent misses the state"
        states = parents
    assert np.array_equal(states, kernel.initial(len(states))), "backward walks do not end in the initial state"
