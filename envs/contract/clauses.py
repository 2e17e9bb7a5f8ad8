"""What the checks of a kernel share: how a clause fails, and the clause that holds along every edge."""

from typing import NoReturn

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.errors import KernelContractError


def fail(complaint: str) -> NoReturn:
    """Raise KernelContractError with the complaint."""
    raise KernelContractError(complaint)


def expect(holds: bool, complaint: str) -> None:
    """Fail a clause that does not hold.

    Raises:
        KernelContractError: with the complaint.
    """
    if not holds:
        fail(complaint)


def check_inverse(kernel: TransitionKernel, before: States, actions: Ints, after: States) -> None:
    """`step` leaves its input alone; `inverse_action` and `redo_action` are each other's inverse along an edge."""
    copy = before.copy()
    kernel.step(before, actions)
    expect(np.array_equal(copy, before), "step changed its input: copy the states first")
    expect(
        after.dtype == before.dtype and after.shape == before.shape,
        f"step must keep dtype and shape, {before.dtype} {before.shape}, got {after.dtype} {after.shape}",
    )
    high = kernel.state_high
    outside = ((after < 0) | (after > high)).reshape(len(after), -1).any(axis=1)
    if outside.any():
        first = int(np.argmax(outside))
        fail(
            f"a state lies outside [0, state_high]: action {actions[first]}, which the mask of "
            f"{kernel.describe(before[first : first + 1])[0]} allows, leads there; forbid it, or raise state_high",
        )
    stays = (after == before).reshape(len(after), -1).all(axis=1)
    if stays.any():
        first = int(np.argmax(stays))
        fail(
            f"action {actions[first]}, which the mask of {kernel.describe(before[first : first + 1])[0]} allows, "
            "changes nothing; forbid it there",
        )
    backward = kernel.inverse_action(before, actions)
    _expect_numbers("inverse_action", backward, len(after))
    allowed = kernel.backward_allowed(after)
    expect(allowed.shape == (len(after), kernel.n_backward_actions), f"backward mask has shape {allowed.shape}")
    undone = allowed[np.arange(len(after)), backward]
    if not undone.all():
        first = int(np.argmin(undone))
        fail(
            f"the action just taken cannot be undone: {kernel.describe(after[first : first + 1])[0]} does not allow "
            f"backward action {backward[first]}, the inverse of action {actions[first]}",
        )
    expect(np.array_equal(kernel.unstep(after, backward), before), "unstep(step(s, a)) differs from s")
    redo = kernel.redo_action(after, backward)
    _expect_numbers("redo_action", redo, len(after))
    expect(np.array_equal(redo, actions), "redo_action does not name the action taken")
    stop = actions == kernel.n_actions - 1
    expect(np.array_equal(stop, kernel.is_terminal(after)), "stop, and stop alone, must end the trajectory")


def _expect_numbers(name: str, numbers: Ints, n: int) -> None:
    fits = numbers.dtype == np.dtype(np.int64) and numbers.shape == (n,)
    expect(fits, f"{name} must give int64 [batch], got {numbers.dtype} {numbers.shape}")
