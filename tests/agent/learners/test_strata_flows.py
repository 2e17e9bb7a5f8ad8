"""Prescribed shares where log Z of a group is the flow of its root: what counts is the sum, not where it is kept."""

from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.evaluation.exact import compare_exactly, log_target
from oreflow.agent.training.build import make_kernel, make_learner, make_reward, make_scorer
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.ledgers.ledger import RewardLedger
from tests.agent.training.test_target import config_of

SAMPLERS: dict[str, dict[str, Any]] = {
    "policy gradient": {"kind": "policy_gradient"},
    "detailed balance": {"objective": "detailed_balance"},
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_flow_moved_into_the_table_of_log_z_changes_nothing(name: str, tmp_path: Any) -> None:
    config = config_of({"space_groups": "uniform", "measure": "density"}, **SAMPLERS[name])
    kernel, reward = make_kernel(config), make_reward(config)
    score = make_scorer(kernel, reward, target=config.target)
    errors, efforts, wanted = [], [], []
    for moved in (0.0, 5.0):
        learner: Any = make_learner(config, kernel)
        learner.partition.started[:] = True
        with torch.no_grad():
            learner.policy.flow_head.bias += moved
            learner.policy.log_z_of_strata += 1.0 - moved
        exact = compare_exactly(kernel, learner.policy, score)
        errors.append([stratum.log_z_error for stratum in exact.strata])
        wanted.append(log_target(kernel, learner.policy, exact.objects, score(exact.objects)))
        learner.step(0, RewardLedger(kernel, reward, RewardFailures(tmp_path / "failures"), 1.0, config.target))
        efforts.append(learner.partition.arrays()["errors_of_strata"])
    assert errors[1] == pytest.approx(errors[0], abs=1e-4)
    assert wanted[1] == pytest.approx(wanted[0], abs=1e-4, nan_ok=True)
    assert efforts[1] == pytest.approx(efforts[0], rel=1e-3)
    assert np.ptp(efforts[0]) > 0
