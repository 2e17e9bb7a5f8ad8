"""Every allowed action of a small world followed once: dead ends, illegal steps, wrong parents, objects counted twice.

Trajectories at random see a fault only where it is common. Here the world is walked level by level until the actions to
be followed are used up; of a larger world it is a part, in which the clauses about whole worlds are left out.
"""

from collections import Counter

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.contract.clauses import check_inverse, expect, fail
from oreflow.envs.contract.labelings import canonical
from oreflow.envs.contract.objects import Objects
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.errors import KernelContractError

_MEMBERS = ("kind", "__len__", "__getitem__", "key_bytes", "labels", "fault")


def check_all_edges(
    kernel: TransitionKernel, terminal: States, rng: np.random.Generator, edges: int, object_kind: str | None
) -> None:
    """Follow up to `edges` allowed actions, and check the objects that come of it.

    Args:
        terminal: further terminal states, of which the objects are checked too.
        rng: picks the states to go on from, where a level has too many.

    Raises:
        KernelContractError: naming the state, the clause and the likely mistake.
    """
    states = kernel.initial(1)
    n_parents: Counter[bytes] = Counter()
    found: dict[bytes, States] = {_key(states[0]): states[0]}
    complete = True
    for _ in range(kernel.max_steps):
        if not len(states):
            break
        allowed = kernel.forward_allowed(states)
        dead = ~allowed.any(axis=1)
        if dead.any():
            fail(f"dead end at {kernel.describe(states[dead])[0]}: feasibility admits what cannot be finished")
        kept = _affordable(allowed.sum(axis=1), edges, rng)
        complete &= len(kept) == len(states)
        row, action = np.nonzero(allowed[kept])
        before = states[kept][row]
        edges -= len(row)
        if not len(row):
            break
        after = kernel.step(before, action)
        check_inverse(kernel, before, action, after)
        new = []
        for key, state in zip(map(_key, after), after):
            n_parents[key] += 1
            if key not in found:
                found[key] = state
                new.append(state)
        states = np.stack(new) if new else states[:0]
        states = states[~kernel.is_terminal(states)] if len(states) else states
    else:
        expect(not len(states), f"some trajectory is longer than max_steps = {kernel.max_steps}; raise it")
    walked = np.stack(list(found.values()))
    ends = walked[kernel.is_terminal(walked)]
    check_objects(kernel, np.concatenate([ends, terminal]), object_kind)
    if complete:
        check_parents(kernel, walked, n_parents)
        check_enumeration(kernel, len(ends))


def _key(state: States) -> bytes:
    return state.tobytes()


def _affordable(costs: Ints, budget: int, rng: np.random.Generator) -> Ints:
    """Numbers of the states whose actions can all be followed: all of them, or a random choice."""
    if costs.sum() <= budget:
        return np.arange(len(costs))
    order = rng.permutation(len(costs))
    return np.sort(order[np.cumsum(costs[order]) <= budget])


def check_parents(kernel: TransitionKernel, states: States, n_parents: Counter[bytes]) -> None:
    """As many backward actions are allowed as actions lead to the state; P_B would not sum to one otherwise."""
    allowed = kernel.backward_allowed(states).sum(axis=1)
    leading = np.array([n_parents[_key(state)] for state in states])
    wrong = np.flatnonzero(allowed != leading)
    if len(wrong):
        i = int(wrong[0])
        fail(
            f"{leading[i]} actions lead to {kernel.describe(states[i : i + 1])[0]}, but its backward mask allows "
            f"{allowed[i]}; backward_allowed must allow just the inverses of the actions that lead there"
        )


def check_enumeration(kernel: TransitionKernel, n_ends: int) -> None:
    """`enumerate` gives every terminal state once, where the kernel says that it can."""
    if kernel.enumeration_unavailable_reason is None:
        n = kernel.enumerate().n_objects
        expect(
            n == n_ends, f"enumerate gives {n} terminal states, and the masks lead to {n_ends}; use enumerate_states"
        )


def check_objects(kernel: TransitionKernel, terminal: States, object_kind: str | None) -> None:
    """Terminal states become a batch of sound objects, and no object is two of them.

    A kernel whose objects may be several states says so with `labelings` (`contract.labelings`).
    """
    terminal = np.unique(terminal.reshape(len(terminal), -1), axis=0).reshape(-1, *kernel.state_shape)
    try:
        objects = kernel.objects(terminal)
    except ValueError as error:
        raise KernelContractError(f"objects() of terminal states cannot be made: {error}") from error
    expect(len(objects) == len(terminal), f"objects gives {len(objects)} objects of {len(terminal)} states")
    if object_kind is not None:
        missing = [name for name in _MEMBERS if name not in dir(objects)]
        expect(
            not missing,
            f"objects must give a batch of objects, got {type(objects).__name__} without {', '.join(missing)}; "
            "oreflow.envs.objects.rows.Rows is one",
        )
        expect(
            objects.kind == object_kind,
            f"objects gives a batch of kind {objects.kind!r}, but the world's object_kind is {object_kind!r}",
        )
    if not isinstance(objects, Objects):
        return
    fault = objects.fault()
    expect(not fault, f"objects gives unsound {objects.kind}s: {fault}")
    keys, labels = objects.key_bytes(), objects.labels()
    expect(len(keys) == len(labels) == len(objects), "key_bytes and labels must give one entry an object")
    one_each = canonical(kernel, terminal)
    first: dict[bytes, int] = {}
    for i, key in enumerate(keys):
        j = first.setdefault(key, i)
        if not np.array_equal(one_each[i], one_each[j]):
            fail(
                f"{labels[i]} is counted twice: the terminal states {kernel.describe(terminal[j : j + 1])[0]} and "
                f"{kernel.describe(terminal[i : i + 1])[0]} are this one object, which would be drawn twice as often; "
                "let masks allow one of them, or write `labelings`"
            )
    part = objects[np.arange(len(keys))[::-1]]
    expect(part.key_bytes() == keys[::-1], "objects chosen by numbers, objects[rows], have other keys")
