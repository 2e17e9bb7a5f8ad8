"""Thresholds of shapes, against the log-scores that the shapes themselves give."""

import numpy as np
import pytest

from oreflow.agent.evaluation.satisfaction import reading_verdict, satisfied, wish_in_words
from oreflow.rewards.composite import make_shape

VALUES = np.array([-1.5, -1.0, -0.95, 0.0, 0.5, 1.0, 2.0, np.nan])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"kind": "below", "threshold": -1.0, "width": 0.1}, [1, 1, 0, 0, 0, 0, 0, 0]),
        ({"kind": "above", "threshold": 0.5, "width": 0.1}, [0, 0, 0, 0, 1, 1, 1, 0]),
        ({"kind": "between", "low": -1.0, "high": 1.0, "width": 0.1}, [0, 1, 1, 1, 1, 1, 0, 0]),
        ({"kind": "target", "value": 0.5, "width": 0.5}, [0, 0, 0, 1, 1, 1, 0, 0]),
        ({"kind": "verdict", "log_penalty": 0.2}, [0, 0, 0, 0, 0, 1, 1, 0]),
    ],
)
def test_each_threshold(shape: dict, expected: list[int]) -> None:
    found = satisfied(shape, VALUES)
    assert found is not None
    assert found.astype(int).tolist() == expected


@pytest.mark.parametrize(
    "shape",
    [
        {"kind": "below", "threshold": -1.0, "width": 0.1},
        {"kind": "above", "threshold": 0.5, "width": 0.1},
        {"kind": "target", "value": 0.5, "width": 0.25},
    ],
)
def test_what_satisfies_has_the_log_score_of_the_threshold_at_least(shape: dict) -> None:
    values = np.linspace(-3, 3, 601)
    scores = make_shape(shape["kind"], {k: v for k, v in shape.items() if k != "kind"})(values)
    limit = -0.5 if shape["kind"] == "target" else -np.log(2)
    found = satisfied(shape, values)
    assert found is not None
    assert 0 < found.sum() < len(values)
    np.testing.assert_array_equal(found, scores >= limit - 1e-6)


@pytest.mark.parametrize("kind", ["minimise", "maximise", "logarithm"])
def test_a_wish_without_an_end_is_never_satisfied(kind: str) -> None:
    assert satisfied({"kind": kind, "beta": 1.0}, VALUES) is None


def test_words() -> None:
    assert wish_in_words({"kind": "below", "threshold": -1, "width": 0.1}, "eV/atom") == "at most -1 eV/atom"
    assert wish_in_words({"kind": "target", "value": 1.5, "width": 0.1}, "eV") == "1.5 ± 0.1 eV"
    assert wish_in_words({"kind": "between", "low": 1, "high": 2, "width": 0.1}, "1") == "from 1 to 2"
    assert wish_in_words({"kind": "verdict", "log_penalty": 5}, "verdict") == "yes"


@pytest.mark.parametrize(
    ("everything", "begins"),
    [(0.5, "Worth reading:"), (0.1, "Worth reading in part:"), (0.09, "Hardly worth reading:")],
)
def test_the_verdict_on_a_table(everything: float, begins: str) -> None:
    said = reading_verdict(2000, {"my_term": 0.6, "other": 0.55, "free": None}, everything)
    assert said.startswith(f"{begins} {everything:.0%} of 2,000 candidates satisfy all that was asked")
    assert ("other fails most often (55% satisfy it)" in said) == (everything < 0.5)
    assert "loosely" not in said
    loose = reading_verdict(2000, {"my_term": 0.6}, everything, 3.04)
    assert loose.endswith(
        "The draws follow the reward loosely (spread of log R - log P 3.0 nats): more steps would help."
    )
    assert "loosely" not in reading_verdict(2000, {"my_term": 0.6}, everything, 2.9)


def test_the_verdict_without_rows_or_thresholds() -> None:
    assert reading_verdict(0, {"a": None}, None).startswith("No candidates: nothing to read.")
    assert reading_verdict(1, {"a": None}, None) == "One candidate; no term has a threshold, so read them by rank."
