"""The composition world: a reduced formula, built by setting one element's count at a time.

State: int16 [batch, n + 1], the count of each of the n elements (ordered by atomic number) and, last, 1 once stopped.
Forward action: `e * width + (count - count_min)` sets absent element e to `count`; the last action stops.
Backward action: e takes element e out again; the last one un-stops.

Stop is allowed exactly when the counts satisfy every constraint of the space and have no common divisor, so each
reduced formula is one terminal object and each terminal object one reduced formula. An addition is allowed exactly when
the result can still be finished; `feasibility.py` says how this is known. A formula of k elements has k! build orders
under `order="free"` and one under `order="canonical"`.
"""

import numba
import numpy as np

from envs.composition_space import CompositionSpace
from envs.compositions import Compositions
from envs.elements import symbols
from envs.errors import EmptyWorldError
from envs.feasibility import FeasibilityTable, Rules, get_bit, may_stop, or_shifted, overlaps_shifted, set_bit, solve
from envs.protocol import EnumeratedWorld

MAX_ENUMERATED_STATES = 2_000_000


@numba.njit(cache=True)
def _summarise(rules: Rules, counts: np.ndarray, charges: np.ndarray, scratch: np.ndarray) -> tuple[int, int, int, int]:
    """Elements, atoms, radical and groups of a partial composition; its possible charges as bits into `charges`."""
    k, a, divisor, groups = 0, 0, 0, 0
    charges[:] = 0
    set_bit(charges, rules.zero_charge)
    for e in range(rules.n):
        count = counts[e]
        if count == 0:
            continue
        k += 1
        a += count
        x, y = divisor, np.int64(count)
        while y:
            x, y = y, x % y
        divisor = x
        groups |= rules.element_groups[e]
        if rules.n_charges > 1:
            scratch[:] = 0
            entry = rules.class_of[e] * rules.width + count - rules.count_min
            for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
                or_shifted(scratch, charges, rules.deltas[d], rules.n_charges)
            charges[:] = scratch
    return k, a, rules.radical_of[divisor], groups


@numba.njit(cache=True)
def _any_set_avoids(table: FeasibilityTable, cell: int, charge: int, p0: np.uint64, p1: np.uint64) -> bool:
    start = table.family_start[cell, charge]
    for i in range(start, start + table.family_size[cell, charge]):
        if ((table.family_sets[i, 0] & p0) | (table.family_sets[i, 1] & p1)) == np.uint64(0):
            return True
    return False


@numba.njit(cache=True)
def _sometimes(
    rules: Rules,
    table: FeasibilityTable,
    charges: np.ndarray,
    child: int,
    first: int,
    last: int,
    p0: np.uint64,
    p1: np.uint64,
    e: int,
) -> bool:
    """Whether an addition of element e leaves elements that finish the object, where this depends on the used ones."""
    if e < 64:
        p0 |= np.uint64(1) << np.uint64(e)
    else:
        p1 |= np.uint64(1) << np.uint64(e - 64)
    for d in range(first, last):
        delta = rules.deltas[d]
        if overlaps_shifted(table.sometimes, child, charges, delta):
            for q in range(max(0, -delta), min(rules.n_charges, rules.n_charges - delta)):
                if (
                    get_bit(charges, q)
                    and get_bit(table.sometimes[child], q + delta)
                    and _any_set_avoids(table, child, q + delta, p0, p1)
                ):
                    return True
    return False


@numba.njit(cache=True)
def _allow_free(rules: Rules, table: FeasibilityTable, counts: np.ndarray, allowed: np.ndarray) -> None:
    """Mask of one non-terminal state under free order; `allowed` [n_actions] arrives all False."""
    n_words = (rules.n_charges + 63) >> 6
    charges = np.zeros(n_words, dtype=np.uint64)
    k, a, r, groups = _summarise(rules, counts, charges, np.zeros(n_words, dtype=np.uint64))
    if may_stop(rules, k, a, r, groups) and get_bit(charges, rules.zero_charge):
        allowed[-1] = True
    if k >= rules.n_elements_max:
        return
    p0, p1 = np.uint64(0), np.uint64(0)
    for e in range(rules.n):
        if counts[e]:
            if e < 64:
                p0 |= np.uint64(1) << np.uint64(e)
            else:
                p1 |= np.uint64(1) << np.uint64(e - 64)
    for cls in range(len(rules.class_groups)):
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            if a + count > rules.n_atoms_max:
                break
            column = count - rules.count_min
            child = table.cell_of[k + 1, a + count, rules.next_radical[r, column], groups | rules.class_groups[cls]]
            if child < 0:
                continue
            first = rules.delta_start[cls * rules.width + column]
            last = rules.delta_start[cls * rules.width + column + 1]
            always = False
            for d in range(first, last):
                if overlaps_shifted(table.always, child, charges, rules.deltas[d]):
                    always = True
                    break
            sometimes = False
            if not always:
                for d in range(first, last):
                    if overlaps_shifted(table.sometimes, child, charges, rules.deltas[d]):
                        sometimes = True
                        break
            if not (always or sometimes):
                continue
            for m in range(rules.member_start[cls], rules.member_start[cls + 1]):
                e = rules.members[m]
                if counts[e] == 0:
                    allowed[e * rules.width + column] = always or _sometimes(
                        rules, table, charges, child, first, last, p0, p1, e
                    )


@numba.njit(cache=True)
def _allow_canonical(rules: Rules, table: FeasibilityTable, counts: np.ndarray, allowed: np.ndarray) -> None:
    """Mask of one non-terminal state under canonical order; `allowed` [n_actions] arrives all False."""
    n_words = (rules.n_charges + 63) >> 6
    charges = np.zeros(n_words, dtype=np.uint64)
    k, a, r, groups = _summarise(rules, counts, charges, np.zeros(n_words, dtype=np.uint64))
    if may_stop(rules, k, a, r, groups) and get_bit(charges, rules.zero_charge):
        allowed[-1] = True
    if k >= rules.n_elements_max:
        return
    last = -1
    for e in range(rules.n):
        if counts[e]:
            last = e
    for cls in range(len(rules.class_groups)):
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            if a + count > rules.n_atoms_max:
                break
            column = count - rules.count_min
            child = table.cell_of[
                k + 1, a + count, rules.next_radical[r, column], groups | rules.class_groups[cls]
            ]
            if child < 0:
                continue
            limit = -1  # members below it can be finished with larger elements
            entry = cls * rules.width + column
            for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
                for q in range(rules.n_charges):
                    q2 = q + rules.deltas[d]
                    if 0 <= q2 < rules.n_charges and table.bound[child, q2] > limit and get_bit(charges, q):
                        limit = table.bound[child, q2]
            for m in range(rules.member_start[cls], rules.member_start[cls + 1]):
                e = rules.members[m]
                if last < e < limit:
                    allowed[e * rules.width + column] = True


@numba.njit(cache=True)
def _forward_allowed(rules: Rules, table: FeasibilityTable, states: np.ndarray) -> np.ndarray:
    allowed = np.zeros((len(states), rules.n * rules.width + 1), dtype=np.bool_)
    for i in range(len(states)):
        if states[i, -1] == 0:
            if rules.canonical:
                _allow_canonical(rules, table, states[i], allowed[i])
            else:
                _allow_free(rules, table, states[i], allowed[i])
    return allowed


@numba.njit(cache=True, parallel=True)
def _forward_allowed_parallel(rules: Rules, table: FeasibilityTable, states: np.ndarray) -> np.ndarray:
    allowed = np.zeros((len(states), rules.n * rules.width + 1), dtype=np.bool_)
    for i in numba.prange(len(states)):
        if states[i, -1] == 0:
            if rules.canonical:
                _allow_canonical(rules, table, states[i], allowed[i])
            else:
                _allow_free(rules, table, states[i], allowed[i])
    return allowed


@numba.njit(cache=True)
def _backward_allowed(rules: Rules, states: np.ndarray) -> np.ndarray:
    allowed = np.zeros((len(states), rules.n + 1), dtype=np.bool_)
    for i in range(len(states)):
        if states[i, -1]:
            allowed[i, rules.n] = True
            continue
        last = -1
        for e in range(rules.n):
            if states[i, e]:
                last = e
                allowed[i, e] = not rules.canonical
        if last >= 0:
            allowed[i, last] = True
    return allowed


@numba.njit(cache=True)
def _encode(rules: Rules, states: np.ndarray) -> np.ndarray:
    tokens = np.full((len(states), rules.n_elements_max), rules.n * rules.width, dtype=np.int64)
    for i in range(len(states)):
        slot = 0
        for e in range(rules.n):
            if states[i, e]:
                tokens[i, slot] = e * rules.width + states[i, e] - rules.count_min
                slot += 1
    return tokens


@numba.njit(cache=True)
def _pairs(atomic_numbers: np.ndarray, slots: int, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    zs = np.zeros((len(states), slots), dtype=np.int16)
    ns = np.zeros((len(states), slots), dtype=np.int32)
    for i in range(len(states)):
        slot = 0
        for e in range(len(atomic_numbers)):
            if states[i, e]:
                zs[i, slot] = atomic_numbers[e]
                ns[i, slot] = states[i, e]
                slot += 1
    return zs, ns


class CompositionKernel:
    """Transition kernel over the reduced formulas of a `CompositionSpace`; see the module's docstring.

    Raises:
        EmptyWorldError: when no formula satisfies the constraints.
    """

    def __init__(self, space: CompositionSpace) -> None:
        self.space = space
        self.rules = space.rules()
        self.table = solve(self.rules)
        self.n_actions = self.rules.n * self.rules.width + 1
        self.n_backward_actions = self.rules.n + 1
        self.max_steps = self.rules.n_elements_max + 1
        self.state_shape = (self.rules.n + 1,)
        self.n_tokens = self.rules.n * self.rules.width
        self.atomic_numbers = space.atomic_numbers
        if not self.forward_allowed(self.initial(1)).any():
            raise EmptyWorldError(_why_empty(space))
        self.enumeration_unavailable_reason = self._enumeration_unavailable_reason()

    @property
    def state_high(self) -> np.ndarray:
        """int16 [n + 1]."""
        return np.append(self.rules.class_high[self.rules.class_of], 1).astype(np.int16)

    def initial(self, batch: int) -> np.ndarray:
        return np.zeros((batch, *self.state_shape), dtype=np.int16)

    def step(self, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        states, rows = states.copy(), np.arange(len(states))
        element, column = np.divmod(np.asarray(actions), self.rules.width)
        # Stop is n * width, so its element index is n: the stopped flag's own column.
        stop = element == self.rules.n
        states[rows, element] = np.where(stop, 1, column + self.rules.count_min)
        return states

    def unstep(self, states: np.ndarray, backward_actions: np.ndarray) -> np.ndarray:
        states = states.copy()
        states[np.arange(len(states)), backward_actions] = 0
        return states

    def forward_allowed(self, states: np.ndarray) -> np.ndarray:
        # Starting the thread pool costs about 20 microseconds, the work of some ten states.
        if len(states) < 64:
            return _forward_allowed(self.rules, self.table, states)
        return _forward_allowed_parallel(self.rules, self.table, states)

    def backward_allowed(self, states: np.ndarray) -> np.ndarray:
        return _backward_allowed(self.rules, states)

    def inverse_action(self, actions: np.ndarray) -> np.ndarray:
        return np.asarray(actions) // self.rules.width

    def redo_action(self, states: np.ndarray, backward_actions: np.ndarray) -> np.ndarray:
        element = np.asarray(backward_actions)
        column = states[np.arange(len(states)), element].astype(np.int64) - self.rules.count_min
        return np.where(element == self.rules.n, self.n_actions - 1, element * self.rules.width + column)

    def is_terminal(self, states: np.ndarray) -> np.ndarray:
        return states[:, -1] == 1

    def encode(self, states: np.ndarray) -> np.ndarray:
        return _encode(self.rules, states)

    def objects(self, states: np.ndarray) -> Compositions:
        """The compositions of states, finished or not."""
        return Compositions(*_pairs(self.atomic_numbers, self.rules.n_elements_max, states))

    def states_of(self, compositions: Compositions) -> np.ndarray:
        """Terminal states of compositions, the inverse of `objects`.

        Raises:
            ValueError: naming the formulas that are no object of this world.
        """
        reduced = compositions.reduced()
        dense = reduced.dense()
        states = np.zeros((len(reduced), *self.state_shape), dtype=np.int16)
        states[:, :-1] = dense[:, self.atomic_numbers]
        inside = states[:, :-1].sum(axis=1) == reduced.n_atoms
        inside[inside] = self.forward_allowed(states[inside])[:, -1] if inside.any() else False
        if not inside.all():
            missing = [f for f, ok in zip(reduced.formulas(), inside) if not ok]
            raise ValueError(f"expected formulas of this world, got {len(missing)} others: {', '.join(missing[:5])}")
        states[:, -1] = 1
        return states

    def describe(self, states: np.ndarray) -> list[str]:
        """Formulas in element order; an unfinished one ends in an ellipsis."""
        names = symbols()
        lines = []
        for row in states.tolist():
            parts = [f"{names[z]}{n if n > 1 else ''}" for z, n in zip(self.atomic_numbers.tolist(), row) if n]
            lines.append("".join(parts) + ("" if row[-1] else "…"))
        return lines

    def _enumeration_unavailable_reason(self) -> str | None:
        bound = float(self._count_partial().sum())
        if bound <= MAX_ENUMERATED_STATES:
            return None
        return (
            f"up to {bound:.2g} partial compositions, more than the {MAX_ENUMERATED_STATES:,} that can be enumerated; "
            "use fewer elements, atoms or counts"
        )

    def _count_partial(self) -> np.ndarray:
        """float64 [k, a]: choices of k distinct elements with counts that sum to a, other constraints aside."""
        ways = np.zeros((self.rules.n_elements_max + 1, self.rules.n_atoms_max + 1))
        ways[0, 0] = 1
        for cls in self.rules.class_of:
            before = ways.copy()
            for count in range(self.rules.class_low[cls], self.rules.class_high[cls] + 1):
                ways[1:, count:] += before[:-1, : ways.shape[1] - count]
        return ways

    def enumerate(self) -> EnumeratedWorld:
        if self.enumeration_unavailable_reason:
            raise ValueError(f"this world cannot be enumerated: {self.enumeration_unavailable_reason}")
        levels, parents, children, actions, stops = [self.initial(1)], [], [], [], []
        first = 0
        while len(levels[-1]):
            states = levels[-1]
            allowed = self.forward_allowed(states)
            stops.append(allowed[:, -1])
            row, action = np.nonzero(allowed[:, :-1])
            following, inverse = np.unique(self.step(states[row], action), axis=0, return_inverse=True)
            parents.append(first + row)
            children.append(first + len(states) + inverse.reshape(-1))
            actions.append(action)
            first += len(states)
            levels.append(following.reshape(-1, *self.state_shape))
        return EnumeratedWorld(
            np.concatenate(levels),
            np.concatenate(parents),
            np.concatenate(children),
            np.concatenate(actions),
            np.concatenate(stops),
        )

    def sample_uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Terminal states drawn uniformly from all objects of the world, [n, *state_shape].

        Rejection: count vectors are drawn uniformly from the superset that knows only element and atom ranges, and
        those on which stop is not allowed are dropped. Exact, and fast unless the world is a tiny part of the superset.

        Raises:
            RuntimeError: when fewer than one draw in 10^7 is an object.
        """
        rules = self.rules
        suffix = np.zeros((rules.n + 1, rules.n_elements_max + 1, rules.n_atoms_max + 1))
        suffix[rules.n, rules.n_elements_min :, rules.n_atoms_min :] = 1.0  # indexed by what is used so far
        for e in range(rules.n - 1, -1, -1):
            suffix[e] = suffix[e + 1]
            cls = rules.class_of[e]
            for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
                suffix[e, :-1, : suffix.shape[2] - count] += suffix[e + 1, 1:, count:]
        kept: list[np.ndarray] = []
        n_kept = n_drawn = 0
        while n_kept < n:
            size = 50_000
            counts = _draw_counts(rules, suffix, rng.random((size, rules.n)))
            states = np.zeros((size, rules.n + 1), dtype=np.int16)
            states[:, :-1] = counts
            states = states[_may_finish(rules, states)]
            states[:, -1] = 1
            kept.append(states)
            n_kept += len(states)
            n_drawn += size
            if n_drawn >= 10_000_000 and n_kept * 10_000_000 < n_drawn:
                raise RuntimeError(f"only {n_kept} of {n_drawn} draws were objects of this world")
        return np.concatenate(kept)[:n]


@numba.njit(cache=True)
def _draw_counts(rules: Rules, suffix: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Count vectors from the superset, uniformly; `suffix[e, k, a]` counts completions by elements e and later."""
    counts = np.zeros(uniform.shape, dtype=np.int16)
    for i in range(len(uniform)):
        k, a = 0, 0
        for e in range(rules.n):
            target = uniform[i, e] * suffix[e, k, a] - suffix[e + 1, k, a]
            if target < 0 or k == rules.n_elements_max:
                continue
            cls = rules.class_of[e]
            chosen = 0
            for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
                if a + count > rules.n_atoms_max:
                    break
                weight = suffix[e + 1, k + 1, a + count]
                if weight > 0:
                    chosen = count
                    target -= weight
                    if target < 0:
                        break
            counts[i, e] = chosen
            if chosen:
                k += 1
                a += chosen
    return counts


@numba.njit(cache=True)
def _may_finish(rules: Rules, states: np.ndarray) -> np.ndarray:
    out = np.zeros(len(states), dtype=np.bool_)
    n_words = (rules.n_charges + 63) >> 6
    charges, scratch = np.zeros(n_words, dtype=np.uint64), np.zeros(n_words, dtype=np.uint64)
    for i in range(len(states)):
        k, a, r, groups = _summarise(rules, states[i], charges, scratch)
        out[i] = may_stop(rules, k, a, r, groups) and get_bit(charges, rules.zero_charge)
    return out


def _why_empty(space: CompositionSpace) -> str:
    """Names the constraints whose removal alone would leave something to build."""
    from dataclasses import replace

    relaxations = {
        "neutrality (hard)": {"neutrality": "off"},
        "n_atoms": {"n_atoms": (1, min(200, max(60, 2 * space.n_atoms[1])))},
        "n_elements": {"n_elements": (1, min(8, len(space.elements)))},
        "count": {"count": (1, space.n_atoms[1]), "count_by_element": {}},
        "required and required_groups": {"required": (), "required_groups": ()},
    }
    culprits = []
    for name, change in relaxations.items():
        relaxed = replace(space, **change)
        table = solve(relaxed.rules())
        rules = relaxed.rules()
        if _forward_allowed(rules, table, np.zeros((1, rules.n + 1), dtype=np.int16)).any():
            culprits.append(name)
    hint = " or ".join(culprits) if culprits else "several constraints together"
    return f"expected at least one formula that satisfies every constraint, found none; relax {hint}"


