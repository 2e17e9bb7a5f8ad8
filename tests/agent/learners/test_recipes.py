"""Replay, warm start, local search and tempered draws: what they add is right, and the target stays R/Z."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.learners.gflownet import GFlowNetLearner
from oreflow.agent.learners.replay import ReplayBuffer
from oreflow.agent.rollout.rollout import backward_rollout, forward_rollout
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_checked, make_kernel, make_learner, make_reward, make_scorer
from oreflow.agent.training.loop import train
from tests.agent.evaluation.test_exact import untrained
from tests.support.worlds import SPACES, kernel


def tiny(**sampler: Any) -> Config:
    return validate_config(
        {
            "schema_version": 1,
            "world": {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "soft"},
            "reward": {"terms": [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}}]},
            "sampler": {"steps": 400, "batch": 64, "hidden": [64], "learning_rate": 0.005} | sampler,
            "run": {"threads": 1},
        },
        "test",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        {"replay": {"share": 0.5, "priority": 1.0}},
        {"replay": {"share": 0.25}, "local_search": {"rounds": 1}},
        {"temperature_start": 3.0, "epsilon_start": 0.3},
        {"epsilon_first": 0.7, "epsilon_start": 0.0},
        {"objective": "detailed_balance", "replay": {"share": 0.5}, "backward": "learned"},
    ],
    ids=["replay", "local search", "tempered", "first actions", "replay with flows and a learned P_B"],
)
def test_recipes_keep_the_target(tmp_path: Path, recipe: dict[str, Any]) -> None:
    config = tiny(**recipe)
    folder = RunFolder(tmp_path / "run")
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    run = load_run(folder)
    assert run.policy is not None
    exact = compare_exactly(run.kernel, run.policy, make_scorer(run.kernel, make_reward(run.config)))
    assert exact.total_variation < 0.03
    assert abs(exact.log_z_error) < 0.03


def test_first_actions_alone_are_explored(rng: np.random.Generator) -> None:
    """A policy that always takes one action, the last allowed one: all others are exploration."""
    k = kernel("large")
    policy = untrained(k, False)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        policy.head_bias += torch.linspace(0, 1e6, k.n_actions)
        t = forward_rollout(k, policy, 4000, rng, epsilon_first=0.75)
    last = k.n_actions - 1 - k.forward_allowed(t.states)[:, ::-1].argmax(axis=1)
    first = np.zeros(len(t.actions), dtype=bool)
    first[t.offsets[:-1]] = True
    assert (t.actions[~first] == last[~first]).all()
    allowed = k.forward_allowed(k.initial(1))[0]
    counts = np.bincount(t.actions[first], minlength=k.n_actions)
    assert not counts[~allowed].any()
    expected = np.where(allowed, 0.75 * 4000 / allowed.sum(), 0.0)
    expected[last[first][0]] += 0.25 * 4000
    assert (((counts - expected) ** 2)[allowed] / expected[allowed]).sum() < allowed.sum() + 5 * np.sqrt(
        2 * allowed.sum()
    )


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("name", [name for name in SPACES if name != "large"])
def test_backward_rollouts_are_legal_and_carry_both_log_probabilities(
    name: str, learned: bool, rng: np.random.Generator
) -> None:
    k = kernel(name)
    policy = untrained(k, learned)
    with torch.no_grad():
        terminal = forward_rollout(k, policy, 40, rng).terminal
        t = backward_rollout(k, policy, terminal, rng)
    assert np.array_equal(t.terminal, terminal)
    first = t.offsets[:-1]
    assert np.array_equal(t.states[first], k.initial(len(terminal)))
    assert k.forward_allowed(t.states)[np.arange(len(t.actions)), t.actions].all()
    after = k.step(t.states, t.actions)
    inner = np.ones(len(after), dtype=bool)
    inner[t.offsets[1:] - 1] = False
    assert np.array_equal(after[~inner], terminal)
    assert np.array_equal(after[inner], t.states[np.flatnonzero(inner) + 1])
    if not learned:
        assert np.allclose(t.log_pb.numpy(), -np.log(k.backward_allowed(after).sum(axis=1)), atol=1e-6)


def test_build_orders_are_drawn_from_a_learned_backward_policy(rng: np.random.Generator) -> None:
    """How often each order of one object comes up, against the product of P_B along it."""
    k = kernel("hard")
    policy = untrained(k, learned_backward=True)
    assert policy.backward_head is not None
    with torch.no_grad():
        policy.backward_head.weight.mul_(10)
        objects = k.step(*_last_object(k))
        n = 20_000
        t = backward_rollout(k, policy, np.repeat(objects, n, axis=0), rng)
    total = t.total(t.log_pb).exp().numpy()
    orders: dict[bytes, list[float]] = {}
    for m in range(n):
        key = t.actions[t.offsets[m] : t.offsets[m + 1]].tobytes()
        orders.setdefault(key, [0.0, total[m]])[0] += 1 / n
    frequencies, expected = np.array(list(orders.values())).T
    assert len(orders) == 24  # four elements
    assert expected.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.ptp(expected) > 0.02
    assert np.abs(frequencies - expected).max() < 4.5 * np.sqrt(0.25 / n)


def _last_object(k: Any) -> tuple[np.ndarray, np.ndarray]:
    world = k.enumerate()
    states = world.states[world.can_stop][-1:]
    return states, np.array([k.n_actions - 1])


def test_the_buffer_keeps_the_best_once_and_draws_by_priority(rng: np.random.Generator) -> None:
    buffer = ReplayBuffer(3, 0.5, (2,), np.dtype(np.int16))
    states = np.array([[1, 1], [2, 1], [1, 1], [3, 1]], dtype=np.int16)
    buffer.add(states, np.array([0.0, 2.0, 0.0, 4.0]))
    assert len(buffer) == 3
    buffer.add(np.array([[4, 1], [2, 1]], dtype=np.int16), np.array([1.0, 2.0]))
    assert sorted(buffer.arrays()["replay_log_reward"].tolist()) == [1.0, 2.0, 4.0]
    buffer.add(states[:1], np.array([0.0]))  # once thrown out it may come back, and is thrown out again
    assert sorted(buffer.arrays()["replay_log_reward"].tolist()) == [1.0, 2.0, 4.0]
    drawn, log_reward = buffer.draw(30_000, rng)
    weights = np.exp(0.5 * np.array([1.0, 2.0, 4.0]))
    shares = [np.mean(log_reward == value) for value in (1.0, 2.0, 4.0)]
    assert np.abs(shares - weights / weights.sum()).max() < 0.015
    assert {(int(s[0]), r) for s, r in zip(drawn, log_reward)} == {(4, 1.0), (2, 2.0), (3, 4.0)}
    again = ReplayBuffer(3, 0.5, (2,), np.dtype(np.int16))
    again.load_arrays(buffer.arrays())
    same = [b.draw(50, np.random.default_rng(1))[0] for b in (buffer, again)]
    assert np.array_equal(*same)


def warm(tmp_path: Path, text: str) -> Config:
    (tmp_path / "known.csv").write_text(text)
    return tiny(replay={"share": 0.25}, warm_start={"path": str(tmp_path / "known.csv")})


def test_known_compounds_fill_the_buffer_before_the_first_step(tmp_path: Path) -> None:
    config = warm(tmp_path, "formula\nLi2O\nMnO2\nNaCl\nLi4O2\nnonsense\n")
    with pytest.warns(UserWarning, match=r"2 rows left out of the warm start"):
        k, reward = make_checked(config, "test")
    learner = make_learner(config, k)
    assert isinstance(learner, GFlowNetLearner)
    known = learner.known()
    assert known is not None
    assert sorted(k.describe(known)) == ["Li2O", "O2Mn"]
    scored = []

    def score(states: np.ndarray) -> Any:
        scored.append(len(states))
        return reward(k.objects(states))

    learner.step(0, score)
    assert scored == [2, 48]  # the known ones, then three quarters of the first batch
    learner.step(1, score)
    assert scored == [2, 48, 48]


@pytest.mark.parametrize(
    ("text", "said"),
    [("formula\nNaCl\n", "none of the 1 in .* is one"), (None, "known.csv"), ("a,b\n1,2\n", "formula")],
)
def test_a_warm_start_without_use_stops_before_training(tmp_path: Path, text: str | None, said: str) -> None:
    config = warm(tmp_path, text or "")
    if text is None:
        (tmp_path / "known.csv").unlink()
    with pytest.raises(ConfigError, match=rf"sampler\.warm_start\.path: .*{said}"):
        make_checked(config, "test")
    assert make_kernel(config) is not None


def test_a_replay_share_that_rounds_to_the_whole_batch_leaves_one_new_draw() -> None:
    for batch, new in ((1, 1), (3, 1)):
        config = tiny(batch=batch, replay={"share": 0.9})
        k = make_kernel(config)
        reward = make_reward(config)
        learner = make_learner(config, k)
        scored: list[int] = []

        def score(states: np.ndarray, scored: list[int] = scored, k: Any = k, reward: Any = reward) -> Any:
            scored.append(len(states))
            return reward(k.objects(states))

        for step in range(3):
            learner.step(step, score)
        assert scored == [batch, new, new]


def test_a_run_goes_on_without_the_table_it_was_warmed_by(tmp_path: Path) -> None:
    config = warm(tmp_path, "formula\nLi2O\n").model_copy(deep=True)
    config.sampler.steps = 4
    k, reward = make_checked(config, "test")
    folder = RunFolder(tmp_path / "run")
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, kernel=k, reward=reward, quiet=True)
    (tmp_path / "known.csv").unlink()
    config.sampler.steps = 6
    k, reward = make_checked(config, "test", resuming=True)
    result = train(config, folder, kernel=k, reward=reward, resume_from=folder.latest_checkpoint(), quiet=True)
    assert result.steps == 6


def test_the_share_of_random_first_actions_falls_to_that_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = []

    def rollout(*args: Any, **options: Any) -> Any:
        shares.append((options["epsilon_first"], options["epsilon"]))
        return forward_rollout(*args, **options)

    monkeypatch.setattr("oreflow.agent.learners.gflownet.forward_rollout", rollout)
    folder = RunFolder(tmp_path / "run")
    config = tiny(steps=3, batch=4, epsilon_first=0.8, epsilon_start=0.4, epsilon_end=0.2)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    assert shares == [pytest.approx(pair) for pair in ((0.8, 0.4), (0.5, 0.3), (0.2, 0.2))]
