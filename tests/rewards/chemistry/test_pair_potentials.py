"""Potentials of pairs of elements: where textbook bonds are, what is not known, and what the fit left out."""

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.rewards.chemistry.pair_potentials import is_held_out, is_known, mean_force_potential


@pytest.mark.parametrize(
    ("one", "other", "bond"),
    [("Si", "O", 1.62), ("P", "O", 1.54), ("Ti", "O", 1.96), ("Na", "Cl", 2.82), ("Zn", "S", 2.34), ("Sr", "O", 2.6)],
)
def test_the_first_minimum_is_the_bond_length_of_textbooks(one: str, other: str, bond: float) -> None:
    r = np.arange(0.5, 6.0, 0.01)
    z1, z2 = atomic_number(one), atomic_number(other)
    values = mean_force_potential(z1, z2, r)
    np.testing.assert_array_equal(values, mean_force_potential(z2, z1, r))
    near = r < 1.25 * bond
    assert r[near][np.argmin(values[near])] == pytest.approx(bond, abs=0.12)
    assert values[near].min() < -1.0  # at least e times likelier than by chance


def test_atoms_are_kept_apart_and_nothing_is_felt_at_the_cutoff() -> None:
    r = np.array([0.0, 0.5, 1.0])
    values = mean_force_potential(8, 8, r)
    np.testing.assert_allclose(np.diff(values), -20.0)  # 40 an angstrom
    assert values[-1] > 5.0
    assert mean_force_potential(8, 8, np.array([6.0]))[0] == 0.0


def test_elements_without_crystals_are_told() -> None:
    numbers = np.array([atomic_number(symbol) for symbol in ("O", "Rn", "Po", "Pu", "Am", "Og")])
    assert is_known(numbers).tolist() == [True, False, False, True, False, False]


def test_one_formula_in_ten_is_left_out_of_the_fit() -> None:
    formulas = [f"A{i}B{j}" for i in range(1, 61) for j in range(1, 61)]
    assert np.mean([is_held_out(formula) for formula in formulas]) == pytest.approx(0.1, abs=0.005)
    # CRC-32 of "123456789" is 0xcbf43926 by its definition, which is 3421780262
    assert not is_held_out("123456789")
