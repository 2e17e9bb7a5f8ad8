"""The masks' dynamic programs against exhaustive search over all ways to occupy positions."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.crystal.feasibility.new_elements import new_elements
from oreflow.envs.crystal.feasibility.search import can_finish, may_close
from oreflow.envs.crystal.feasibility.sums import YES, search_memory
from oreflow.envs.crystal.feasibility.tables import CLASS, inventory, solve_sites
from oreflow.envs.crystal.space import WyckoffSpace

# Sizes and degrees of freedom of positions, as P-1, Pm-3m, P1, Fd-3m (primitive), I4/mmm have them.
POSITIONS = {
    "P-1": ([1] * 8 + [2], [0] * 8 + [3]),
    "Pm-3m": ([1, 1, 3, 3, 6, 6, 8, 12, 12, 12, 24], [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 3]),
    "P1": ([1], [3]),
    "Fd-3m": ([2, 2, 4, 4, 8, 12], [0, 0, 0, 0, 1, 1]),
    "no freedom": ([1, 2, 2, 3], [0, 0, 0, 0]),
    "even": ([2, 2, 4], [0, 1, 1]),
}
SPACES = {
    "off": {"elements": ("Na", "Cl"), "n_elements": (1, 2), "n_atoms": (3, 6), "neutrality": "off"},
    "hard": {"elements": ("Na", "Mg", "Cl", "O"), "n_elements": (2, 3), "n_atoms": (2, 7)},
    "few anions": {"elements": ("Na", "Al", "Ti", "O"), "n_elements": (2, 4), "n_atoms": (5, 8)},
    "mixed": {"elements": ("Fe", "O", "Li"), "n_elements": (2, 3), "n_atoms": (2, 7), "mixed_valence": True},
    "groups": {
        "elements": ("Li", "Na", "O", "S"),
        "n_elements": (2, 3),
        "n_atoms": (3, 7),
        "required": ("Li",),
        "required_groups": (("O", "S"),),
    },
    "three required": {
        "elements": ("Li", "Al", "P", "O", "S"),
        "n_elements": (3, 4),
        "n_atoms": (4, 8),
        "required": ("Li", "P", "S"),
    },
    "composition": {"composition": "MgAl2O4", "n_atoms": (7, 14)},
    "perovskites": {"stoichiometry": ((("Ca", "Sr", "Na"), 1), (("Ti", "Na"), 1), (("O", "F"), 3)), "n_atoms": (5, 10)},
    "perovskites of Sr": {
        "stoichiometry": ((("Ca", "Sr", "Na"), 1), (("Ti", "Na"), 1), (("O", "F"), 3)),
        "n_atoms": (5, 10),
        "required": ("Sr",),
    },
    "system": {"chemical_system": "Li-O", "n_atoms": (2, 6)},
}


@pytest.mark.parametrize("rule", SPACES)
@pytest.mark.parametrize("positions", POSITIONS)
def test_feasibility_is_exact(positions: str, rule: str, rng: np.random.Generator) -> None:
    chosen: dict[str, Any] = dict(SPACES[rule])
    if rule == "composition" and positions in ("P1", "P-1"):
        chosen["n_atoms"] = (7, 7)  # two formula units have too many ways to search exhaustively
    space = WyckoffSpace(space_groups=[1], **chosen)
    sizes, dof = (np.array(column) for column in POSITIONS[positions])
    rules, amounts, role_bits = space.rules()
    kind = inventory(sizes, dof, rules.n_atoms_max)
    tables = solve_sites(rules, {1: kind}, amounts, role_bits)
    work = search_memory(tables)
    strides = kind.strides
    n = rules.n

    def admitted(counts: tuple[int, ...]) -> bool:
        return _admitted(space, counts)

    @cache
    def finishes(used: frozenset, counts: tuple[int, ...]) -> bool:
        return admitted(counts) or any(finishes(*child) for child in children(used, counts))

    def children(used: frozenset, counts: tuple[int, ...]) -> list[tuple[frozenset, tuple[int, ...]]]:
        out = []
        for letter, size in enumerate(sizes.tolist()):
            if letter in used or sum(counts) + size > rules.n_atoms_max:
                continue
            after = used | {letter} if dof[letter] == 0 else used
            for e in range(n):
                more = tuple(c + size * (i == e) for i, c in enumerate(counts))
                if sum(c > 0 for c in more) <= rules.n_elements_max:
                    out.append((after, more))
        return out

    seen = {(frozenset(), (0,) * n)}
    frontier = list(seen)
    while frontier and len(seen) < 4000:
        nodes = [child for node in frontier for child in children(*node)]
        frontier = [node for node in dict.fromkeys(nodes) if node not in seen]
        seen |= set(frontier)
    nodes = sorted(seen, key=lambda node: (sum(node[1]), sorted(node[0]), node[1]))
    verdicts = []
    for i in rng.permutation(len(nodes))[:400]:
        used, counts = nodes[i]
        elements = np.flatnonzero(counts)
        amounts_here = np.array([counts[e] for e in elements], dtype=np.int64)
        state = sum(strides[int(sizes[letter])] for letter in used)
        arguments = (elements, amounts_here, len(elements))
        verdict = can_finish(tables, 0, state, *arguments, work)
        assert verdict == finishes(used, counts), (used, counts)
        assert may_close(tables, *arguments, sum(counts), work) == admitted(counts), counts
        verdicts.append(verdict)
        # all elements that are not there yet at once, as the masks ask, on one of the positions left
        left = [i for i in range(len(sizes)) if i not in used and sum(counts) + sizes[i] <= rules.n_atoms_max]
        if not left:
            continue
        letter = int(rng.choice(left))
        size = int(sizes[letter])
        after = used | {letter} if dof[letter] == 0 else used
        state += strides[size] if dof[letter] == 0 else 0
        new = [e for e in range(n) if not counts[e] and len(elements) < rules.n_elements_max]
        fits = {e: finishes(after, tuple(c + size * (i == e) for i, c in enumerate(counts))) for e in new}
        room = np.append(elements, 0), np.append(amounts_here, 0), len(elements)
        found = np.zeros(len(tables.cls), dtype=np.int64)
        assert new_elements(tables, 0, state, *room, size, False, found, work) == any(fits.values())
        for e in new:
            assert (found[tables.element[e, CLASS]] == YES) == fits[e], (used, counts, letter, e)
        assert new_elements(tables, 0, state, *room, size, True, found, work) == any(fits.values())
    assert len(verdicts) == min(400, len(nodes))


def _admitted(space: WyckoffSpace, counts: tuple[int, ...]) -> bool:
    """The rules as prose has them, by brute force."""
    compositions: CompositionSpace = space.compositions
    present = [(compositions.elements[i], c) for i, c in enumerate(counts) if c]
    low, high = compositions.n_atoms
    if not low <= sum(counts) <= high or not compositions.n_elements[0] <= len(present) <= compositions.n_elements[1]:
        return False
    names = {symbol for symbol, _ in present}
    groups = [{symbol} for symbol in compositions.required] + [set(g) for g in compositions.required_groups]
    if not all(names & group for group in groups):
        return False
    if space.roles and not _roles_fit(space.roles, dict(present)):
        return False
    return compositions.neutrality != "hard" or _neutral(compositions, present)


def _roles_fit(roles: tuple, present: dict[str, int]) -> bool:
    from itertools import permutations

    total, unit = sum(present.values()), sum(amount for _, amount in roles)
    if total % unit or len(present) != len(roles):
        return False
    return any(
        all(s in names and present[s] == amount * (total // unit) for s, (names, amount) in zip(order, roles))
        for order in permutations(present)
    )


def _neutral(compositions: CompositionSpace, present: list[tuple[str, int]]) -> bool:
    from oreflow.envs.chemistry.elements import atomic_number
    from oreflow.envs.chemistry.oxidation import oxidation_states

    table = oxidation_states(compositions.oxidation_table)
    sums = {0}
    for symbol, count in present:
        states = table.get(atomic_number(symbol), ())
        if compositions.mixed_valence:
            own = set(range(count * min(states), count * max(states) + 1)) if states else set()
        else:
            own = {state * count for state in states}
        sums = {a + b for a in sums for b in own}
    return 0 in sums


def test_pyxtal_counterexample() -> None:
    """A published test calls 15, 16, 17 and 21 atoms impossible in Pm-3m; each is a sum of its multiplicities."""
    sizes, dof = (np.array(column) for column in POSITIONS["Pm-3m"])
    for n in (15, 16, 17, 21):
        space = WyckoffSpace(
            space_groups=[221],
            elements=("C",),
            n_elements=(1, 1),
            n_atoms=(n, n),
            neutrality="off",
            cell="conventional",
        )
        rules, _, _ = space.rules()
        tables = solve_sites(rules, {221: inventory(sizes, dof, n)})
        nothing = np.zeros(0, dtype=np.int64)
        assert can_finish(tables, 0, 0, nothing, nothing, 0, search_memory(tables)), n
