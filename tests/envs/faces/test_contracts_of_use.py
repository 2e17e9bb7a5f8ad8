"""What Gymnasium's users get wrong is told by the contract it breaks: actions, scorers, ranges."""

from typing import Any

import numpy as np
import pytest

from oreflow.envs.alloy.space import AlloySpace
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.errors import IllegalActionError, ScorerContractError
from oreflow.envs.faces.single import KernelEnv
from oreflow.envs.faces.vector import KernelVectorEnv

pytestmark = pytest.mark.kind("Gymnasium: actions, scorers, ranges")

SPACE = CompositionSpace(elements=("Li", "O"), n_elements=(1, 2), n_atoms=(1, 4), neutrality="off")


@pytest.fixture(scope="module")
def kernel() -> CompositionKernel:
    return CompositionKernel(SPACE)


def finish(env: KernelEnv) -> tuple[float, dict[str, Any]]:
    env.reset(seed=0)
    while True:
        _, reward, ended, _, info = env.step(np.flatnonzero(env.action_masks())[-1])
        if ended:
            return reward, info


@pytest.mark.parametrize("action", [np.array([0]), [0], 0.0, np.float64(0), "0", None, np.array([0, 1])])
def test_an_action_that_is_no_whole_number(kernel: CompositionKernel, action: Any) -> None:
    env = KernelEnv(kernel)
    env.reset(seed=0)
    with pytest.raises(IllegalActionError, match="expected one action, a whole number from 0 to"):
        env.step(action)


@pytest.mark.parametrize("action", [0, np.int64(0), np.int32(0), np.array(0)])
def test_whole_numbers_of_any_type(kernel: CompositionKernel, action: Any) -> None:
    env = KernelEnv(kernel)
    env.reset(seed=0)
    assert env.step(action)[1] == 0.0


def test_actions_of_many(kernel: CompositionKernel) -> None:
    env = KernelVectorEnv(kernel, num_envs=2)
    env.reset(seed=0)
    for actions in ([0.5, 0.5], [0], [[0], [0]]):
        with pytest.raises(ValueError, match=r"expected actions as whole numbers of shape \(2,\)"):
            env.step(np.array(actions))


@pytest.mark.parametrize(
    ("scorer", "got"),
    [
        (lambda states: 1.5, "got float"),
        (lambda states: None, "got NoneType"),
        (lambda states: np.zeros(len(states) + 1), r"got shape \(2,\)"),
        (lambda states: np.zeros((len(states), 2)), r"got shape \(1, 2\)"),
        (lambda states: ["a"], "got "),
    ],
)
def test_a_scorer_that_returns_something_else(kernel: CompositionKernel, scorer: Any, got: str) -> None:
    with pytest.raises(ScorerContractError, match=rf"log R of each state, float64 of shape \(1,\), {got}"):
        finish(KernelEnv(kernel, scorer))


def test_a_scorer_that_returns_nan_is_said(kernel: CompositionKernel) -> None:
    with pytest.warns(
        RuntimeWarning, match="the scorer returned nan for a state; it counts as illegal_log_reward = -7"
    ):
        reward, info = finish(KernelEnv(kernel, lambda states: np.full(len(states), np.nan), illegal_log_reward=-7.0))
    assert (reward, info["invalid_reward"]) == (-7.0, True)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: CompositionSpace(n_elements=3), "n_elements"),  # type: ignore[arg-type]
        (lambda: CompositionSpace(n_atoms=(1, 2, 3)), "n_atoms"),  # type: ignore[arg-type]
        (lambda: CompositionSpace(count_by_element={"Li": 2}), r"count_by_element\['Li'\]"),  # type: ignore[dict-item]
        (lambda: WyckoffSpace(n_atoms=8), "n_atoms"),  # type: ignore[arg-type]
        (lambda: WyckoffSpace(volume_a3_per_atom=20.0), "volume_a3_per_atom"),  # type: ignore[arg-type]
        (lambda: AlloySpace(elements=("Fe", "Ni"), n_elements=2), "n_elements"),  # type: ignore[arg-type]
    ],
)
def test_a_number_where_a_range_is_meant(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"expected {name} = \(low, high\), two numbers, got"):
        make()
