"""The public contract test of a transition kernel: one function a clause, each failing with the likely mistake.

from oreflow.envs.contract.check import check_kernel
check_kernel(kernel, np.random.default_rng(0), n=200)

Each clause is checked along random trajectories; `contract.check_edges` then follows every allowed action, and finds
objects that are counted twice.
"""

import numpy as np

from oreflow.envs.arrays import Bools, Ints, States
from oreflow.envs.contract.check_edges import check_all_edges
from oreflow.envs.contract.clauses import check_inverse, expect, fail
from oreflow.envs.contract.protocol import TransitionKernel

_ACTIONS_FOLLOWED = 20_000


def check_kernel(
    kernel: TransitionKernel,
    rng: np.random.Generator,
    n: int = 100,
    object_kind: str | None = None,
    *,
    edges: int = _ACTIONS_FOLLOWED,
) -> None:
    """Hold a kernel to every clause of `TransitionKernel`.

    It is driven through `n` random trajectories, and then through up to `edges` actions one by one.

    Args:
        kernel: any.
        rng: picks the actions.
        n: trajectories.
        object_kind: what the batches that `objects` gives have to call themselves; None: whatever they do.
        edges: so many allowed actions are followed exhaustively, level by level from the initial state. Worlds that
            have no more are checked completely.

    Raises:
        KernelContractError: with the clause that does not hold and what usually causes it.
    """
    states = kernel.initial(n)
    check_sizes(kernel)
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
        check_in_place(kernel, before, actions, after)
        check_batching(kernel, after)
        states = np.concatenate([states[~moving], after])
    expect(
        bool(kernel.is_terminal(states).all()),
        f"some trajectory is longer than max_steps = {kernel.max_steps}; raise it, or let no action lead back",
    )
    check_backward_walk(kernel, states, rng)
    check_all_edges(kernel, states, rng, edges, object_kind)


def check_sizes(kernel: TransitionKernel) -> None:
    """The numbers of actions and tokens are those of the arrays that describe them."""
    for name in ("n_actions", "n_backward_actions", "max_steps", "n_tokens"):
        size = getattr(kernel, name)
        expect(
            isinstance(size, int | np.integer) and bool(size > 0),
            f"{name} must be a whole number above 0, got {size!r}",
        )
    for name, length in (("token_factors", kernel.n_tokens), ("action_factors", kernel.n_actions - 1)):
        array = getattr(kernel, name)
        expect(
            isinstance(array, np.ndarray) and array.dtype == np.dtype(np.int64) and array.shape[:-1] == (length,),
            f"{name} must be int64 of shape [{length}, factor], one row for each "
            f"{'token' if name == 'token_factors' else 'action without stop'}, got "
            + (f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__),
        )
        expect(not len(array) or bool(array.min() >= 0), f"{name} holds a negative id; ids run from 0")
    expect(kernel.state_high.shape == kernel.state_shape, f"state_high must have the shape {kernel.state_shape}")


def check_initial(kernel: TransitionKernel, states: States) -> None:
    """Initial states have the stated shape, no backward action, and are not terminal."""
    expect(
        np.issubdtype(states.dtype, np.integer), f"states must be whole numbers, got {states.dtype}: initial makes them"
    )
    expect(states.shape[1:] == kernel.state_shape, f"state shape is {states.shape[1:]}, declared {kernel.state_shape}")
    terminal, backward = kernel.is_terminal(states), kernel.backward_allowed(states)
    expect(
        terminal.dtype == np.bool_ and terminal.shape == (len(states),),
        f"is_terminal must be boolean, one value a state, got {terminal.dtype} {terminal.shape}",
    )
    expect(backward.dtype == np.bool_, f"backward_allowed must be boolean (True = allowed), got {backward.dtype}")
    expect(not backward.any(), "an initial state allows a backward action")
    expect(not terminal.any(), "the initial state is terminal")


def check_forward_mask(kernel: TransitionKernel, states: States, allowed: Bools) -> None:
    """Masks are boolean, of the right width, and empty exactly for terminal states."""
    expect(allowed.dtype == np.bool_, f"forward_allowed must be boolean (True = allowed), got {allowed.dtype}")
    expect(
        allowed.shape == (len(states), kernel.n_actions), f"mask shape {allowed.shape}, n_actions {kernel.n_actions}"
    )
    dead = ~allowed.any(axis=1) & ~kernel.is_terminal(states)
    if dead.any():
        fail(f"dead end at {kernel.describe(states[dead])[0]}: feasibility admits what cannot be finished")
    open_ends = allowed.any(axis=1) & kernel.is_terminal(states)
    if open_ends.any():
        fail(f"terminal state {kernel.describe(states[open_ends])[0]} allows a forward action")


def check_action_blocks(kernel: TransitionKernel) -> None:
    """Blocks are ascending action numbers, and hold every action."""
    held = np.zeros(kernel.n_actions, dtype=np.bool_)
    for i, block in enumerate(kernel.action_blocks):
        expect(block.dtype == np.int64, f"action block {i} must be int64, got {block.dtype}")
        expect(block.ndim == 1, f"action block {i} must have one axis, got shape {block.shape}")
        expect(len(block) > 0, f"action block {i} is empty: leave it out")
        expect(bool((np.diff(block) > 0).all()), f"action block {i} must ascend, without repetition")
        expect(
            bool(0 <= block[0] <= block[-1] < kernel.n_actions), f"action block {i} names an action that does not exist"
        )
        held[block] = True
    expect(bool(held.all()), f"action {np.argmin(held)} is in no block")


def check_action_block(kernel: TransitionKernel, states: States, allowed: Bools) -> None:
    """Each state names a block, and outside of it allows nothing."""
    block = kernel.action_block(states)
    expect(block.dtype == np.int64, f"action_block must give int64, got {block.dtype}")
    expect(block.shape == (len(states),), f"action_block gives shape {block.shape}, expected ({len(states)},)")
    n_blocks = len(kernel.action_blocks)
    expect(bool(((block >= 0) & (block < n_blocks)).all()), f"action_block lies outside the {n_blocks} blocks")
    holds = np.zeros((n_blocks, kernel.n_actions), dtype=np.bool_)
    for i, actions in enumerate(kernel.action_blocks):
        holds[i, actions] = True
    outside = (allowed & ~holds[block]).any(axis=1)
    if outside.any():
        fail(f"{kernel.describe(states[outside])[0]} allows an action outside its block")


def check_in_place(kernel: TransitionKernel, before: States, actions: Ints, after: States) -> None:
    """`step` writes into `out`, also where that is its own input, and leaves rows with action -1 as they are."""
    own = before.copy()
    expect(kernel.step(own, actions, out=own) is own, "step must return `out` where it is given")
    expect(np.array_equal(own, after), "step into its own input (out=states) differs from step")
    still = np.where(np.arange(len(actions)) % 2 == 0, -1, actions)
    expected = np.where((still == -1).reshape(-1, *(1,) * (before.ndim - 1)), before, after)
    expect(np.array_equal(kernel.step(before, still), expected), "step must leave rows with action -1 as they are")


def check_batching(kernel: TransitionKernel, states: States) -> None:
    """Masks and tokens of a batch equal those of its rows in any order."""
    order = np.arange(len(states))[::-1]
    allowed, tokens = kernel.forward_allowed(states), kernel.encode(states)
    expect(np.array_equal(kernel.forward_allowed(states[order]), allowed[order]), "masks depend on the batch's order")
    out = ~allowed
    expect(kernel.forward_allowed(states, out=out) is out, "forward_allowed must return `out` where it is given")
    expect(np.array_equal(out, allowed), "masks written into `out` differ")
    expect(np.array_equal(kernel.forward_allowed(states[:1]), allowed[:1]), "masks depend on the batch's size")
    expect(
        np.array_equal(kernel.action_block(states[order]), kernel.action_block(states)[order]),
        "action_block depends on the batch's order",
    )
    expect(
        tokens.dtype == np.int64 and tokens.ndim == 2 and len(tokens) == len(states),
        f"encode must give int64 [batch, token], got {tokens.dtype} {tokens.shape}",
    )
    expect(np.array_equal(kernel.encode(states[:1]), tokens[:1]), "encode depends on the batch's size")
    expect(bool(((tokens >= 0) & (tokens <= kernel.n_tokens)).all()), "a token lies outside [0, n_tokens]")
    expect(len(kernel.describe(states)) == len(states), "describe must give one line a state")


def check_backward_walk(kernel: TransitionKernel, states: States, rng: np.random.Generator) -> None:
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
        if not legal.all():
            fail(f"{kernel.describe(states[~legal])[0]} has a parent from which it cannot be reached")
        expect(np.array_equal(kernel.step(parents, redo), states), "redo_action from the parent misses the state")
        states = parents
    expect(np.array_equal(states, kernel.initial(len(states))), "backward walks do not end in the initial state")
