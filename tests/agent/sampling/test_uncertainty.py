"""How far a model's standard deviation moves log R, against log R of the values that are moved."""

from typing import Any

import numpy as np
import pytest

from oreflow.agent.learners.families.conditions import Condition
from oreflow.agent.learners.families.kinds import Temperature
from oreflow.agent.sampling.rows.uncertainty import log_reward_std
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards import Reward, Term
from oreflow.rewards.composite import make_shape
from oreflow.rewards.contract.protocol import TermValues

VALUES, STD = np.array([0.0, 0.5, 1.0, 3.0]), np.array([0.1, 0.2, 0.4, 0.0])
BATCH = parse_formulas(["LiF", "NaCl", "KBr", "CsI"])[0]


class Model(Term):
    """Values with a standard deviation, moved by `step` of them."""

    unit, version, requires = "kg", "1", "composition"

    def __init__(self, name: str, step: float = 0.0, scored: bool = False, has_std: bool = True) -> None:
        self.name, self.step, self.scored, self.has_std = name, step, scored, has_std

    def __call__(self, batch: Compositions) -> TermValues:
        columns: dict[str, Any] = {f"{self.name}_std": STD} if self.has_std else {}
        if self.scored:
            columns[f"{self.name}_scored"] = VALUES + 2.0 + self.step * STD
        return TermValues(VALUES + self.step * STD, np.ones(len(batch), dtype=bool), columns)


SHAPES: dict[str, dict[str, float]] = {
    "minimise": {"beta": 3.0},
    "below": {"threshold": 0.6, "width": 0.1},
    "target": {"value": 0.5, "width": 1.0},
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("scored", [False, True])
def test_it_is_the_larger_change_of_log_r(kind: str, scored: bool) -> None:
    def reward(step: float) -> Reward:
        return Reward([(Model("m", step, scored), make_shape(kind, SHAPES[kind]))], beta=2.0)

    before = reward(0.0)(BATCH).log_reward
    changes = [np.abs(reward(step)(BATCH).log_reward - before) for step in (1.0, -1.0)]
    found = log_reward_std(reward(0.0), reward(0.0)(BATCH))
    np.testing.assert_allclose(found, np.maximum(*changes), rtol=1e-12)
    assert (found[:3] > 0).all()


def test_several_terms_add_up_as_squares_and_terms_without_it_do_not_count() -> None:
    shape = make_shape("minimise", {"beta": 3.0})
    reward = Reward([(Model("a"), shape), (Model("b"), shape), (Model("c", has_std=False), shape)])
    np.testing.assert_allclose(log_reward_std(reward, reward(BATCH)), np.sqrt(2) * 3.0 * STD, rtol=1e-12)
    assert log_reward_std(Reward([(Model("c", has_std=False), shape)]), reward(BATCH)) is None


def test_under_a_condition_it_is_that_of_the_conditions_log_r() -> None:
    reward = Reward([(Model("m"), make_shape("minimise", {"beta": 3.0}))])
    condition = Condition(Temperature(0.5, 4.0), np.array([4.0]), False)
    found = log_reward_std(reward, reward(BATCH), condition.rewards)
    np.testing.assert_allclose(found, 4.0 * 3.0 * STD, rtol=1e-12)
