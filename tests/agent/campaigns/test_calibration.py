"""What is learned from a referee: synthetic ones whose bias is known, and numpy's own algebra as a judge."""

import numpy as np
import pytest

from oreflow.agent.campaigns.calibration import Calibration, Estimate, Inputs, Uncalibrated
from oreflow.agent.campaigns.picking import BEST, EXPLORED, pick, probability_below
from oreflow.agent.evaluation.statistics import rank_correlation


def synthetic(n: int, seed: int, noise: float = 0.02) -> tuple[Inputs, np.ndarray]:
    """A surrogate that knows nothing of two elements and of one feature, which make the referee's energy."""
    rng = np.random.default_rng(seed)
    fractions = np.zeros((n, 119))
    for row in fractions:
        row[rng.choice(np.arange(1, 21), 3, replace=False)] = [0.5, 0.25, 0.25]
    features = rng.normal(size=(n, 3)) * [1.0, 10.0, 0.01] + [0.0, 100.0, 5.0]
    predicted = rng.normal(0.0, 0.03, n)
    bias = 0.05 + 0.4 * fractions[:, 8] - 0.3 * fractions[:, 15] + 0.004 * (features[:, 1] - 100)
    referee = predicted + bias + rng.normal(0.0, noise, n)
    return Inputs(predicted, np.full(n, 0.03), features, fractions), referee


def test_a_known_bias_is_learned_and_ranks_what_was_not_seen() -> None:
    known, referee = synthetic(80, 0)
    fresh, theirs = synthetic(400, 1)
    learned = Calibration(known, referee).predict(fresh)
    before, after = rank_correlation(fresh.predicted, theirs), rank_correlation(learned.mean, theirs)
    assert before is not None
    assert after is not None
    assert before < 0.5 < 0.9 < after
    # Twice the noise of 0.02 eV/atom, where the surrogate is wrong by 0.05 eV/atom on average and more
    assert np.abs(learned.mean - theirs).mean() < 0.04 < 0.06 < np.abs(fresh.predicted - theirs).mean()


def test_more_rounds_rank_better() -> None:
    fresh, theirs = synthetic(400, 1)
    found = []
    for n in (5, 20, 80, 200):
        found.append(rank_correlation(Calibration(*synthetic(n, 7)).predict(fresh).mean, theirs))
    assert found == sorted(found)
    assert found[0] >= rank_correlation(fresh.predicted, theirs) - 0.05


def test_standard_deviations_are_those_of_the_errors() -> None:
    fresh, theirs = synthetic(1000, 3)
    estimate = Calibration(*synthetic(100, 2)).predict(fresh)
    z = (theirs - estimate.mean) / estimate.std
    assert 0.8 < z.std() < 1.25
    assert abs((np.abs(z) < 1.645).mean() - 0.9) < 0.06


def test_noise_alone_teaches_nothing_but_its_size() -> None:
    rng = np.random.default_rng(0)
    known, _ = synthetic(60, 4)
    referee = known.predicted + rng.normal(0.0, 0.1, 60)
    calibration = Calibration(known, referee)
    estimate = calibration.predict(synthetic(300, 5)[0])
    assert np.abs(estimate.mean - synthetic(300, 5)[0].predicted).max() < 0.08
    assert 0.08 < np.median(estimate.std) < 0.13


def test_what_is_left_out_one_at_a_time_equals_fits_without_it() -> None:
    """The closed form against the definition, at the weights that were chosen."""
    known, referee = synthetic(12, 6)
    calibration = Calibration(known, referee)
    a, b = calibration.weights
    scaled = (known.features - known.features.mean(axis=0)) / known.features.std(axis=0)
    kernel = 10.0 + a * scaled @ scaled.T / 3 + b * known.fractions @ known.fractions.T
    error, left = referee - known.predicted, []
    for row in range(12):
        rest = np.arange(12) != row
        alpha = np.linalg.solve(kernel[np.ix_(rest, rest)] + np.eye(11), error[rest])
        left.append(error[row] - kernel[row, rest] @ alpha)
    assert calibration.figures()["error_held_out_ev_per_atom"] == pytest.approx(np.abs(left).mean(), rel=1e-9)


def test_one_relaxation_is_enough_to_begin_with_and_features_that_never_vary_do_no_harm() -> None:
    known, referee = synthetic(1, 8)
    estimate = Calibration(known, referee).predict(synthetic(10, 9)[0])
    assert np.isfinite(estimate.mean).all()
    assert (estimate.std > 0).all()
    before = Uncalibrated().predict(known)
    assert before.mean == known.predicted
    assert before.std == pytest.approx(np.hypot(0.03, 0.1))


def test_probabilities_are_those_of_the_normal_distribution() -> None:
    from scipy.stats import norm

    estimate = Estimate(np.array([0.0, 0.08, 0.3, -5.0]), np.array([0.1, 0.02, 0.1, 0.1]))
    assert probability_below(0.08, estimate) == pytest.approx(norm.cdf(0.08, estimate.mean, estimate.std))


def chosen(n: int, explore: float = 0.0, tried: set[str] | None = None, **changed: object) -> list:
    given = {
        "estimate": Estimate(np.array([0.1, -0.2, 0.0, -0.1, -0.3]), np.full(5, 0.05)),
        "eligible": np.array([True, True, True, True, False]),
        "formulas": ["A", "B", "C", "B", "D"],
        "tried": tried or set(),
    }
    rng = np.random.default_rng(0)
    return pick(**(given | changed), n=n, threshold=0.08, explore=explore, rng=rng)  # type: ignore[arg-type]


def test_picks_are_the_likeliest_one_a_formula_and_new_formulas_first() -> None:
    assert [one.row for one in chosen(3)] == [1, 2, 0]
    assert [one.row for one in chosen(9)] == [1, 2, 0]  # row 3 has the formula of row 1
    assert [one.row for one in chosen(2, tried={"B", "C"})] == [0, 1]
    assert chosen(0) == []
    assert chosen(3, eligible=np.zeros(5, dtype=np.bool_)) == []


def test_a_sure_thing_goes_before_a_lower_mean_that_is_uncertain() -> None:
    estimate = Estimate(np.array([-0.02, 0.0]), np.array([0.5, 0.01]))
    picks = chosen(1, estimate=estimate, eligible=np.ones(2, dtype=np.bool_), formulas=["A", "B"])
    assert picks[0].row == 1


def test_exploring_takes_its_share_and_prefers_what_is_uncertain() -> None:
    n = 400
    std = np.where(np.arange(n) % 2 == 0, 0.01, 0.3)
    estimate = Estimate(np.full(n, 0.2), std)
    picks = chosen(
        50, explore=0.2, estimate=estimate, eligible=np.ones(n, dtype=np.bool_), formulas=[str(k) for k in range(n)]
    )
    explored = [one.row for one in picks if one.because == EXPLORED]
    assert (len(picks), len(explored), len({one.row for one in picks})) == (50, 10, 50)
    assert all(std[row] == 0.3 for row in explored)
    assert [one.because for one in picks[:40]] == [BEST] * 40
