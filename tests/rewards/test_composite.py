"""Terms to log R: shapes by hand, the sum and its bounds, invalid values, and what a broken term is told."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from oreflow import rewards
from oreflow.envs.errors import OreflowError
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.composite import Reward, build, evaluate_term, make_shape
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.errors import RewardContractError, RewardParameterError
from oreflow.rewards.shaping import SHAPES

BATCH = Compositions.from_dicts([{11: 1, 17: 1}, {26: 3, 8: 4}, {1: 2, 8: 1}, {55: 1, 82: 1, 53: 3}, {118: 1}])
N = len(BATCH)
VALUES = np.array([-2.0, -0.5, 0.0, 0.5, 3.0])


@dataclass
class Stub:
    """A term that returns what it is told to."""

    result: Any = None
    function: Any = None
    name: str = "stub"
    unit: str = "eV"
    version: str = "1"
    citations: tuple[str, ...] = field(default=())
    requires: str = "composition"

    def __call__(self, batch: Compositions) -> TermValues:
        return self.result if self.function is None else self.function(batch)


def values_of(values: Any, valid: Any = None, **more: Any) -> TermValues:
    return TermValues(np.asarray(values), np.ones(N, dtype=np.bool_) if valid is None else np.asarray(valid), **more)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.mark.parametrize(
    ("kind", "params", "by_hand"),
    [
        ("minimise", {"beta": 4.0}, lambda v: -4.0 * v),
        ("maximise", {"beta": 4.0}, lambda v: 4.0 * v),
        ("target", {"value": 0.5, "width": 2.0}, lambda v: -((v - 0.5) ** 2) / 8),
        (
            "between",
            {"low": -0.1, "high": 0.2, "width": 0.1},
            lambda v: log_sigmoid((v + 0.1) / 0.1) + log_sigmoid((0.2 - v) / 0.1),
        ),
        ("below", {"threshold": 0.2, "width": 0.1}, lambda v: log_sigmoid((0.2 - v) / 0.1)),
        ("above", {"threshold": 0.2, "width": 0.1}, lambda v: log_sigmoid((v - 0.2) / 0.1)),
        ("verdict", {"log_penalty": 5.0}, lambda v: -5.0 * (1 - v)),
        ("logarithm", {"exponent": 2.0}, lambda v: math.nan if v < 0 else 2 * math.log(v) if v else -math.inf),
    ],
)
def test_shapes_by_hand(kind: str, params: dict[str, float], by_hand: Any) -> None:
    np.testing.assert_allclose(make_shape(kind, params)(VALUES), [by_hand(v) for v in VALUES], rtol=1e-12)


def test_every_shape_is_tested_by_hand() -> None:
    assert set(SHAPES) == {"minimise", "maximise", "target", "below", "above", "between", "verdict", "logarithm"}


def test_sigmoid_shapes_do_not_overflow() -> None:
    assert make_shape("below", {"threshold": 0.0, "width": 1e-3})(np.array([-50.0, 50.0])).tolist() == [0.0, -50_000.0]


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("minimize", {"beta": 1.0}, "got 'minimize'; did you mean 'minimise'"),
        (None, {"beta": 1.0}, "expected the kind of a shape, got None"),
        (["minimise"], {"beta": 1.0}, "expected the kind of a shape"),
        ("minimise", {"betta": 1.0}, "takes no parameter 'betta'; did you mean 'beta'"),
        ("minimise", {}, "needs the parameter beta"),
        ("minimise", {"beta": 0.0}, "positive number, got 0.0"),
        ("minimise", {"beta": -1}, "positive number, got -1"),
        ("minimise", {"beta": "large"}, "number, got 'large'"),
        ("minimise", {"beta": True}, "number, got True"),
        ("minimise", {"beta": math.nan}, "number, got nan"),
        ("target", {"value": math.inf, "width": 1.0}, "expected value to be a finite number, got inf"),
        ("target", {"value": "1 eV", "width": 1.0}, "expected value to be a finite number, got '1 eV'"),
        ("between", {"low": 0.5, "high": 0.5, "width": 1.0}, "expected low < high, got 0.5 and 0.5"),
        ("between", {"low": 0.0, "high": 1.0, "width": 0.0}, "expected width to be a positive number, got 0.0"),
        ("below", {"threshold": None, "width": 1.0}, "expected threshold to be a finite number, got None"),
        ("above", {"threshold": math.nan, "width": 1.0}, "expected threshold to be a finite number, got nan"),
    ],
)
def test_bad_shapes_say_what_was_expected(kind: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardParameterError) as error:
        make_shape(kind, params)
    assert message in str(error.value)


def test_log_reward_is_beta_times_the_sum_and_parts_are_kept() -> None:
    a, b = Stub(values_of(VALUES)), Stub(values_of(VALUES**2), name="other")
    reward = Reward([(a, make_shape("minimise", {"beta": 2.0})), (b, make_shape("maximise", {"beta": 1.0}))], beta=3.0)
    result = reward(BATCH)
    np.testing.assert_allclose(result.log_reward, 3.0 * (-2.0 * VALUES + VALUES**2), rtol=1e-12)
    np.testing.assert_allclose(result.log_scores["stub"], -6.0 * VALUES, rtol=1e-12)
    np.testing.assert_allclose(sum(result.log_scores.values()), result.log_reward, rtol=1e-12)
    assert result.terms["other"].values.tolist() == (VALUES**2).tolist()
    assert result.valid.all()
    assert result.log_reward.dtype == np.float64


def test_log_reward_is_cut_to_its_bounds_and_scores_are_not() -> None:
    reward = Reward([(Stub(values_of(VALUES)), make_shape("maximise", {"beta": 10.0}))], log_min=-4.0, log_max=20.0)
    assert reward(BATCH).log_reward.tolist() == [-4.0, -4.0, 0.0, 5.0, 20.0]
    assert reward(BATCH).log_scores["stub"].tolist() == [-20.0, -5.0, 0.0, 5.0, 30.0]


def test_build_from_plain_data_leaves_it_unchanged() -> None:
    terms = [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}, "params": {"table": "smact14"}}]
    reward = build(terms, beta=2.0)
    assert reward(BATCH).log_reward[:4].tolist() == [0.0, -1.0, 0.0, 0.0]
    assert terms == [
        {"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}, "params": {"table": "smact14"}}
    ]
    assert isinstance(reward, rewards.Reward)


def test_a_term_twice_and_crossed_bounds_are_refused() -> None:
    shape = make_shape("minimise", {"beta": 1.0})
    with pytest.raises(RewardParameterError, match="each reward once, got stub, stub"):
        Reward([(Stub(), shape), (Stub(), shape)])
    with pytest.raises(RewardParameterError, match="expected log_min < log_max"):
        Reward([(Stub(), shape)], log_min=1.0, log_max=1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["minimise", "maximise"])
def test_values_that_are_not_finite_are_invalid_and_never_a_low_score(bad: float, kind: str) -> None:
    reward = Reward([(Stub(values_of([0.0, bad, 1.0, 2.0, 3.0])), make_shape(kind, {"beta": 1.0}))])
    result = reward(BATCH)
    assert result.valid.tolist() == [True, False, True, True, True]
    assert np.isnan(result.log_reward).tolist() == [False, True, False, False, False]
    assert result.reasons() == {1: f"stub: value {bad}"}


def test_one_invalid_term_makes_the_item_invalid() -> None:
    """What stands where a term is invalid has no meaning, however attractive the number."""
    good = Stub(values_of(VALUES), name="good")
    flags = [True, False, True, True, False]
    partial = Stub(values_of([0.0, -1e300, 0, 0, 0], flags, reasons={1: "out of scope"}), name="partial")
    shape = make_shape("minimise", {"beta": 1.0})
    for terms in ([(good, shape), (partial, shape)], [(partial, shape), (good, shape)]):
        result = Reward(terms)(BATCH)
        assert result.valid.tolist() == flags
        assert np.isnan(result.log_reward).tolist() == [not flag for flag in flags]
        assert result.reasons() == {1: "partial: out of scope", 4: "partial: no valid value"}


def test_scores_that_cancel_to_no_number_are_invalid_with_a_reason() -> None:
    huge = values_of([1e308, 0, 0, 0, 0])
    terms = [
        (Stub(huge), make_shape("maximise", {"beta": 1e3})),
        (Stub(huge, name="b"), make_shape("minimise", {"beta": 1e3})),
    ]
    result = Reward(terms)(BATCH)
    assert result.valid.tolist() == [False, True, True, True, True]
    assert result.reasons() == {0: "the log-scores of the terms do not add up to a number"}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (VALUES, "expected TermValues, got ndarray"),
        (None, "expected TermValues, got NoneType"),
        (TermValues(VALUES[:3], np.ones(3, dtype=np.bool_)), "of shape (5,), got (3,) and (3,)"),
        (TermValues(VALUES[:, None], np.ones((N, 1), dtype=np.bool_)), "of shape (5,), got (5, 1) and (5, 1)"),
        (TermValues(VALUES, np.ones(1, dtype=np.bool_)), "of shape (5,), got (5,) and (1,)"),
        (values_of(VALUES.astype(int)), "expected floating values and bool valid, got int64 and bool"),
        (values_of(VALUES, np.ones(N)), "expected floating values and bool valid, got float64 and float64"),
        (values_of(["low"] * N), "expected floating values and bool valid"),
        (values_of(VALUES, columns={"std": np.ones(2)}), "expected column 'std' of shape (5,), got (2,)"),
        (values_of(VALUES, columns=[1, 2]), "expected arrays and dictionaries"),
        (values_of(VALUES, reasons=None), "expected arrays and dictionaries"),
    ],
)
def test_a_wrong_result_says_what_was_expected_and_what_arrived(result: Any, message: str) -> None:
    with pytest.raises(RewardContractError) as error:
        evaluate_term(Stub(result), BATCH)
    assert message in str(error.value)
    assert "'stub'" in str(error.value)


def test_a_single_precision_result_is_read_as_float64() -> None:
    assert evaluate_term(Stub(values_of(VALUES.astype(np.float32))), BATCH).values.dtype == np.float64


def test_changing_the_input_raises() -> None:
    def spoil(batch: Compositions) -> TermValues:
        batch.counts[0, 0] = 7
        return values_of(VALUES)

    with pytest.raises(RewardContractError, match="changes its input, which is read-only"):
        evaluate_term(Stub(function=spoil), BATCH)
    assert BATCH.counts[0, 0] == 1


def raises_on_lead(batch: Compositions) -> TermValues:
    if (batch.atomic_numbers == 82).any():
        raise ZeroDivisionError("lead")
    values = batch.n_atoms.astype(np.float64)
    return TermValues(
        values, values < 6, {"std": values / 10}, dict.fromkeys(np.flatnonzero(values >= 6).tolist(), "large")
    )


def test_an_exception_costs_only_the_items_that_cause_it() -> None:
    result = evaluate_term(Stub(function=raises_on_lead), BATCH)
    assert result.valid.tolist() == [True, False, True, False, True]
    assert result.values[[0, 2, 4]].tolist() == [2.0, 3.0, 1.0]
    assert result.reasons == {1: "large", 3: "ZeroDivisionError: lead"}
    np.testing.assert_array_equal(result.columns["std"], [0.2, 0.7, 0.3, np.nan, 0.1])


def test_a_term_that_always_raises_leaves_nothing_valid() -> None:
    result = Reward([(Stub(function=lambda batch: 1 / 0), make_shape("minimise", {"beta": 1.0}))])(BATCH)
    assert not result.valid.any()
    assert set(result.reasons().values()) == {"stub: ZeroDivisionError: division by zero"}


def test_errors_that_the_user_can_mend_are_not_swallowed() -> None:
    def fail(batch: Compositions) -> TermValues:
        raise OreflowError("weights are missing")

    with pytest.raises(OreflowError, match="weights are missing"):
        evaluate_term(Stub(function=fail), BATCH)


def test_an_empty_batch_is_fine() -> None:
    empty = BATCH[:0]
    terms = [{"name": n, "shape": {"kind": "minimise", "beta": 1.0}} for n in ("charge_balance", "formation_energy")]
    assert len(build(terms)(empty).log_reward) == 0


def test_one_term_occurs_twice_under_two_labels() -> None:
    entry = {"name": "formation_energy", "shape": {"kind": "minimise", "beta": 2.0}}
    pessimist = {**entry, "label": "cautious_energy", "params": {"std_weight": 2.0}}
    result = build([entry, pessimist])(BATCH)
    plain, cautious = result.terms["formation_energy"], result.terms["cautious_energy"]
    valid = plain.valid
    expected = plain.values + 2.0 * plain.columns["formation_energy_std"]
    np.testing.assert_allclose(cautious.values[valid], expected[valid], rtol=1e-12)
    assert "cautious_energy_std" in cautious.columns
    with pytest.raises(RewardParameterError, match="each reward once, got formation_energy, formation_energy; tell"):
        build([entry, entry])
