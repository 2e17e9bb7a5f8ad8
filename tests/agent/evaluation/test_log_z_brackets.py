"""Brackets of log Z: their ends are the expectations that exhaustive summation gives, and log Z lies between them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.evaluation.log_z_brackets import LogZBracket, log_z_brackets
from oreflow.agent.policy.network import Policy
from oreflow.agent.policy.prior import Prior
from oreflow.agent.rollout.log_probabilities import action_log_probabilities
from oreflow.agent.training.build import make_kernel, make_policy, make_reward, make_scorer
from oreflow.envs.arrays import Floats
from oreflow.envs.contract.protocol import TransitionKernel
from tests.agent.evaluation.test_exact import untrained
from tests.agent.training.test_prior import config_of as composition_config
from tests.agent.training.test_target import WORLD, config_of, trained
from tests.support.cli import done
from tests.support.worlds import kernel


def exact_ends(k: TransitionKernel, policy: Policy, log_reward: Floats, log_p0: Floats | None) -> tuple[float, float]:
    """E[log w] under P_F and under the target, by sums over all transitions of the world.

    Args:
        log_reward: of the states that can stop, in their order.
        log_p0: log P0 [state, action] of a prior in the place of a uniform P_B.
    """
    world = k.enumerate()
    log_pf = action_log_probabilities(k, policy, world.states)
    n_parents = np.maximum(k.backward_allowed(world.states).sum(axis=1), 1)
    log_b = -np.log(n_parents)[world.child] if log_p0 is None else log_p0[world.parent, world.action]
    stop = np.full(len(world.states), -np.inf)
    stop[world.can_stop] = log_reward + (0.0 if log_p0 is None else log_p0[world.can_stop, -1])
    gain = log_b - log_pf[world.parent, world.action]
    stop_gain = np.where(world.can_stop, stop, 0.0) - np.where(world.can_stop, log_pf[:, -1], 0.0)
    value = np.exp(log_pf[:, -1]) * stop_gain
    log_flow = stop.copy()  # log of the sum of the target's weights of all ways to go on from a state
    for edge in range(len(world.parent) - 1, -1, -1):
        parent, child = world.parent[edge], world.child[edge]
        value[parent] += np.exp(log_pf[parent, world.action[edge]]) * (gain[edge] + value[child])
        log_flow[parent] = np.logaddexp(log_flow[parent], log_b[edge] + log_flow[child])
    mass, upper = np.zeros(len(world.states)), 0.0  # of the target, pushed forward
    mass[0] = 1.0
    for edge in range(len(world.parent)):
        parent, child = world.parent[edge], world.child[edge]
        through = mass[parent] * np.exp(log_b[edge] + log_flow[child] - log_flow[parent])
        mass[child] += through
        upper += through * gain[edge]
    ends = world.can_stop
    upper += float((mass[ends] * np.exp(stop[ends] - log_flow[ends]) * stop_gain[ends]).sum())
    return float(value[0]), upper


def within(estimate: float | None, error: float | None, exact: float) -> bool:
    assert estimate is not None
    assert error is not None
    return abs(estimate - exact) < 4 * error + 1e-9


@pytest.mark.parametrize("name", ["hard", "off"])
def test_the_ends_are_the_exact_expectations(name: str, rng: np.random.Generator) -> None:
    k = kernel(name)
    policy, world = untrained(k), k.enumerate()
    log_reward = rng.normal(0.0, 1.0, world.n_objects)
    index = {row.tobytes(): value for row, value in zip(k.step(*_stopped(k)), log_reward)}
    lower, upper = exact_ends(k, policy, log_reward, None)
    log_z = float(np.logaddexp.reduce(log_reward))
    assert lower < log_z - 0.1  # far from a perfect sampler
    assert upper > log_z + 0.1
    (found,) = log_z_brackets(k, policy, lambda states: np.array([index[s.tobytes()] for s in states]), rng, 20_000)
    assert within(found.lower, found.lower_standard_error, lower)
    assert within(found.importance, found.importance_standard_error, log_z)
    assert within(found.upper, found.upper_standard_error, upper)
    assert found.lower < log_z < found.upper  # type: ignore[operator]


def _stopped(k: TransitionKernel) -> tuple[Any, Any]:
    states = k.enumerate().states[k.enumerate().can_stop]
    return states, np.full(len(states), k.n_actions - 1)


def test_with_a_prior_and_without_rewards_of_all_objects(rng: np.random.Generator) -> None:
    """tau counts, objects without a reward have R = 0, and a prior takes the place of P_B."""
    config = composition_config(sampler={"hidden": [16]})
    k = kernel("off")
    policy, fitted = untrained(k), make_policy(config.model_copy(update={"seed": 7}), k)
    prior = Prior(k, fitted, k.included_in(k))
    states, stop = _stopped(k)
    log_reward = rng.normal(0.0, 1.0, len(states))
    invalid = rng.random(len(states)) < 0.2
    index = {row.tobytes(): value for row, value in zip(k.step(states, stop), np.where(invalid, np.nan, log_reward))}

    def score(terminal: Any) -> Floats:
        return np.array([index[row.tobytes()] for row in terminal])

    for of_prior, tau in ((None, 1.0), (prior, 2.0)):
        exact = compare_exactly(k, policy, score, prior=of_prior, tau=tau)
        (found,) = log_z_brackets(k, policy, score, rng, 20_000, prior=of_prior, tau=tau)
        assert 0 < found.n_valid < found.n_draws
        assert within(found.importance, found.importance_standard_error, exact.log_z)
        assert found.lower < exact.log_z < found.upper  # type: ignore[operator]
    log_p0 = action_log_probabilities(k, fitted, k.enumerate().states)
    index = {row.tobytes(): value for row, value in zip(k.step(states, stop), log_reward)}
    lower, upper = exact_ends(k, policy, log_reward / 2, log_p0)
    (found,) = log_z_brackets(k, policy, score, rng, 20_000, prior=prior, tau=2.0)
    assert within(found.lower, found.lower_standard_error, lower)
    assert within(found.upper, found.upper_standard_error, upper)


def test_no_valid_draw_gives_no_bracket(rng: np.random.Generator) -> None:
    k = kernel("hard")
    (found,) = log_z_brackets(k, untrained(k), lambda states: np.full(len(states), np.nan), rng, 50)
    assert (found.n_valid, found.lower, found.upper) == (0, None, None)


@pytest.mark.slow
def test_log_z_of_each_group_lies_in_its_bracket(tmp_path: Path, rng: np.random.Generator) -> None:
    """Crystals with prescribed shares and R as a density, half trained: against enumeration, group by group."""
    config = config_of({"space_groups": {"186": 1, "cubic": 3}, "measure": "density"}, steps=150)
    run = trained(config, tmp_path / "run")
    score = make_scorer(run.kernel, make_reward(config), target=config.target)
    exact = {stratum.name: stratum for stratum in compare_exactly(run.kernel, run.policy, score).strata}
    found = {bracket.name: bracket for bracket in log_z_brackets(run.kernel, run.policy, score, rng, 3000)}
    assert found.keys() == exact.keys()
    for name, bracket in found.items():
        assert within(bracket.importance, bracket.importance_standard_error, exact[name].log_z), name
        assert _holds(bracket, exact[name].log_z), name
        assert bracket.learned == pytest.approx(exact[name].log_z + exact[name].log_z_error)
        assert bracket.effective_draws > 100  # type: ignore[operator]
    widths = [bracket.upper - bracket.lower for bracket in found.values()]  # type: ignore[operator]
    assert max(widths) > 0.01
    # The command prints them where draws are asked for, and the Jensen gap closes as the sampler learns
    text = done("exact", tmp_path / "run", "--draws", 500).stdout
    assert "brackets of log Z" in text
    figures = json.loads(done("exact", tmp_path / "run", "--draws", 500, "--json").stdout)
    assert [bracket["n_draws"] for bracket in figures["log_z_brackets"]] == [500] * len(exact)
    longer = trained(config_of(config.target.model_dump(), steps=800), tmp_path / "longer")
    again = log_z_brackets(longer.kernel, longer.policy, score, rng, 3000)
    assert max(b.upper - b.lower for b in again) < max(widths) / 2  # type: ignore[operator]


def _holds(bracket: LogZBracket, log_z: float) -> bool:
    low, high = bracket.lower - 3 * bracket.lower_standard_error, bracket.upper + 3 * bracket.upper_standard_error  # type: ignore[operator]
    return low < log_z < high


@pytest.mark.slow
def test_a_prior_counts_with_its_first_action(rng: np.random.Generator) -> None:
    """Shares and a prior together: log Z_g is that of P0(x) R(x)^(1/tau) over the group, first action included."""
    config = config_of({"space_groups": "uniform", "measure": "density"})
    plain = composition_config(world=WORLD | {"geometry": False}, seed=5)  # the prior knows decorations alone
    k, larger = make_kernel(config), make_kernel(plain)
    policy = make_policy(config, k)
    prior = Prior(larger, make_policy(plain, larger), k.included_in(larger))  # type: ignore[attr-defined]
    score = make_scorer(k, make_reward(config), target=config.target)
    exact = {s.name: s for s in compare_exactly(k, policy, score, prior=prior, tau=2.0).strata}
    for bracket in log_z_brackets(k, policy, score, rng, 2000, prior=prior, tau=2.0):
        assert within(bracket.importance, bracket.importance_standard_error, exact[bracket.name].log_z), bracket.name
