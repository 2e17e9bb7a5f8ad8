"""Tokens of partial compositions against brute force over all assignments of oxidation states."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.chemistry.oxidation import oxidation_states
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from tests.support.worlds import SPACES

SOFT = replace(SPACES["hard"], neutrality="soft")
WORLDS = {"hard": SPACES["hard"], "soft": SOFT, "mixed_valence": SPACES["mixed_valence"], "off": SPACES["off"]}


def charges_of(space: CompositionSpace, counts: dict[int, int], lowest: int, highest: int) -> set[int]:
    """Total charges that the oxidation states of the space's table allow while all parts stay within the window."""
    table = oxidation_states(space.oxidation_table)
    choices = []
    for z, count in counts.items():
        states = table.get(z, ())
        if space.mixed_valence:
            choices.append(set(range(count * min(states), count * max(states) + 1)) if states else set())
        else:
            choices.append({state * count for state in states})
    picks = list(itertools.product(*choices))
    inside = [all(lowest <= part <= highest for part in itertools.accumulate(pick, initial=0)) for pick in picks]
    return {sum(pick) for pick, ok in zip(picks, inside) if ok}


@pytest.mark.parametrize("name", WORLDS)
def test_tokens_tell_elements_atoms_and_charges(name: str) -> None:
    space = WORLDS[name]
    k = CompositionKernel(space)
    states = k.enumerate().states
    tokens = k.encode(states)
    n_slots = k.rules.n_elements_max
    additions, charges = k.rules.n * k.rules.width, k.tokens.rules
    lowest, highest = -charges.zero_charge, charges.n_charges - 1 - charges.zero_charge
    for state, row in zip(states, tokens):
        counts = {int(k.atomic_numbers[e]): int(state[e]) for e in np.flatnonzero(state[:-1])}
        present = [divmod(t, k.rules.width) for t in row[:n_slots].tolist() if t < k.n_tokens]
        assert {int(k.atomic_numbers[e]): c + k.rules.count_min for e, c in present} == counts
        assert row[n_slots] == additions + sum(counts.values())
        if space.neutrality == "off":
            assert len(row) == n_slots + 1
            continue
        inside = charges_of(space, counts, lowest, highest)
        first = additions + k.rules.n_atoms_max + 1
        told = [int(row[n_slots + 1 + i]) - first - i * (charges.n_charges + 1) for i in range(3)]
        if not inside:
            assert told == [charges.n_charges] * 3
            continue
        assert told[0] - charges.zero_charge == min(inside)
        assert told[1] - charges.zero_charge == max(inside)
        assert abs(told[2] - charges.zero_charge) == min(map(abs, inside))


def test_required_elements_without_states_leave_the_charges_out() -> None:
    assert "He" in symbols()
    space = CompositionSpace(
        elements=("He", "O"), n_elements=(1, 2), n_atoms=(1, 4), required=("He",), neutrality="soft"
    )
    k = CompositionKernel(space)
    assert not k.tokens.has_charges
    assert k.encode(k.initial(1)).shape == (1, 3)
