"""The reward `complexity`: code lengths by hand, of reduced formulas, and what shapes make of them."""

from math import log

import numpy as np
import pytest

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards import build_term
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.registry import make_term

# ln n + ln ln n + ..., positive parts alone, of each coefficient that is not 1.
THREE = log(3) + log(log(3))
FOUR = log(4) + log(log(4))
SEVEN = log(7) + log(log(7))
BY_HAND = {
    "MgO": 0.0,
    "Fe2O3": log(2) + THREE,
    "SrTiO3": THREE,
    "LiFePO4": FOUR,
    "YBa2Cu3O7": log(2) + THREE + SEVEN,
    "Fe6O9": log(2) + THREE,  # as Fe2O3
    "H16": 0.0,  # reduced to H
    "La7Er11F54": SEVEN + log(11) + log(log(11)) + log(54) + log(log(54)) + log(log(log(54))),
}


def batch_of(*formulas: str) -> Compositions:
    return Compositions.from_dicts([parse_formula(formula) for formula in formulas])


def test_code_lengths_by_hand() -> None:
    found = make_term("complexity")(batch_of(*BY_HAND))
    assert found.valid.all()
    assert found.values == pytest.approx(list(BY_HAND.values()), abs=1e-12)
    assert found.values[-1] == pytest.approx(11.5813, abs=1e-4)


def test_large_counts_cost_no_memory() -> None:
    found = make_term("complexity")(Compositions.from_dicts([{1: 1, 6: 2_000_000_011}]))
    n = 2_000_000_011
    expected, part = 0.0, log(n)
    while part > 0:
        expected, part = expected + part, log(part) if part > 1 else 0.0
    assert found.values == pytest.approx([expected])


def test_contract_and_a_composition_without_elements() -> None:
    term = make_term("complexity")
    check_reward_term(term)
    found = term(Compositions(np.zeros((1, 2)), np.zeros((1, 2))))
    assert not found.valid.any()
    assert found.reasons[0] == "a composition without elements"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"kind": "minimise", "beta": 2.0}, -2.0 * THREE),
        ({"kind": "below", "threshold": 5.0, "width": 0.5}, -log(1 + np.exp((THREE - 5.0) / 0.5))),
        (
            {"kind": "between", "low": 1.0, "high": 3.0, "width": 0.5},
            -log(1 + np.exp((1.0 - THREE) / 0.5)) - log(1 + np.exp((THREE - 3.0) / 0.5)),
        ),
    ],
)
def test_shapes(shape: dict[str, float], expected: float) -> None:
    term, score = build_term({"name": "complexity", "shape": shape})
    assert score(term(batch_of("SrTiO3")).values) == pytest.approx([expected])
