"""The hypervolume: hand cases, Monte Carlo in up to four axes, and what must not change it."""

import numpy as np
import pytest

from oreflow.agent.evaluation.hypervolume import hypervolume, pareto_front


def staircase(n_axes: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Points in the unit box near a sphere, so that many are on the front; some values repeat."""
    points = np.abs(rng.normal(size=(n, n_axes)))
    return np.round(points / np.linalg.norm(points, axis=1, keepdims=True) * rng.uniform(0.8, 1, (n, 1)), 2)


def test_hand_cases() -> None:
    assert hypervolume(np.array([[3.0], [2.0]]), np.array([1.0])) == 2
    assert hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.zeros(2)) == 3
    assert hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([-1.0, 0.0])) == 2 * 2 + 1
    corners = np.array([[2.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 2.0]])
    assert hypervolume(corners, np.zeros(3)) == 4
    assert hypervolume(np.array([[2.0, 3.0, 4.0, 5.0]]), np.ones(4)) == 1 * 2 * 3 * 4
    assert hypervolume(np.empty((0, 3)), np.zeros(3)) == 0


def test_points_not_above_the_reference_or_not_finite_add_nothing() -> None:
    reference = np.zeros(2)
    one = np.array([[1.0, 1.0]])
    for other in ([5.0, 0.0], [-1.0, 9.0], [np.nan, 2.0], [np.inf, 2.0], [2.0, -np.inf]):
        assert hypervolume(np.concatenate([one, [other]]), reference) == 1


@pytest.mark.parametrize("n_axes", [1, 2, 3, 4])
def test_it_is_the_share_of_random_points_that_are_dominated(n_axes: int, rng: np.random.Generator) -> None:
    points = staircase(n_axes, 30, rng)
    thrown = rng.random((100_000, n_axes))
    share = np.zeros(len(thrown), dtype=np.bool_)
    for point in points:
        share |= (thrown < point).all(axis=1)
    error = np.sqrt(share.mean() * (1 - share.mean()) / len(thrown))
    assert abs(hypervolume(points, np.zeros(n_axes)) - share.mean()) < 4 * error + 1e-12


@pytest.mark.parametrize("n_axes", [2, 3, 4])
def test_order_repeats_and_dominated_points_change_nothing(n_axes: int, rng: np.random.Generator) -> None:
    points = staircase(n_axes, 25, rng)
    value = hypervolume(points, np.zeros(n_axes))
    more = np.concatenate([points, 0.9 * points, points])
    assert hypervolume(rng.permutation(more), np.zeros(n_axes)) == pytest.approx(value, rel=1e-12)
    axes = rng.permutation(n_axes)
    assert hypervolume(points[:, axes], np.zeros(n_axes)) == pytest.approx(value, rel=1e-12)
    assert hypervolume(points + 3, np.full(n_axes, 3.0)) == pytest.approx(value, rel=1e-12)


def test_the_front_is_what_nothing_dominates(rng: np.random.Generator) -> None:
    points = staircase(3, 60, rng)
    ours = {tuple(point) for point in pareto_front(np.concatenate([points, points]))}
    others = [[q for q in points if (q >= p).all() and (q > p).any()] for p in points]
    assert ours == {tuple(p) for p, better in zip(points, others) if not better}


def test_five_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 to 4 axes, got 5"):
        hypervolume(np.ones((2, 5)), np.zeros(5))
