"""Training that does not wait for its rewards: it reaches R/Z, pays for each object once, and uses all that it paid."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.agent.config.run import Config, dump_config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.runtime.signals import StopFlag
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.checkpoint import load_arrays
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_kernel, make_reward, make_scorer
from oreflow.agent.training.ledgers.asynchronous import LAST_SHARE, AsynchronousLedger
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.loop import TrainingLine, TrainingResult, train
from oreflow.rewards import Reward
from oreflow.rewards.composite import make_shape
from oreflow.rewards.contract.cache import CachedTerm
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.registry import load_plugin
from oreflow.rewards.store.identity import TermIdentity
from oreflow.rewards.store.store import RewardStore
from oreflow.rewards.store.term import StoredTerm
from tests.support import processes
from tests.support.late_term import BatchSystem, LateTerm

PLUGIN = """
import random, time
import numpy as np
from oreflow import rewards

class Term:
    unit, version, citations, requires = "1", "1", (), "composition"

    def __init__(self, log: str = "", longest_s: float = 0.0) -> None:
        self.log, self.longest_s, self.delays = log, longest_s, random.Random()

    def __call__(self, batch):
        for formula in batch.reduced().formulas():
            if self.log:
                with open(self.log, "a") as file: file.write(formula + chr(10))
            time.sleep(self.delays.random() * self.longest_s)
        reduced = batch.reduced()
        values = 0.5 * reduced.n_atoms - 1.5 * reduced.n_elements
        return rewards.TermValues(values, np.ones(len(batch), dtype=bool))

@rewards.register("random_delay")
class RandomDelay(Term):
    "Takes its time."
    name = "random_delay"
"""


def config(*, steps: int = 120, isolated: bool = True, cost: float | None = None, **asynchronous: Any) -> Config:
    """Li, Mn, O: 128 formulas; the term stands for the one that a test builds itself."""
    term = {"name": "charge_balance", "shape": {"kind": "minimise", "beta": 1.0}, "isolated": isolated, "cost": cost}
    return validate_config(
        {
            "schema_version": 1,
            "world": {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "off"},
            "reward": {"terms": [term], "invalid_budget": 0.1},
            "sampler": {"steps": steps, "batch": 32, "hidden": [32, 32], "replay": {"share": 0.5, "priority": 0.0}},
            "run": {"threads": 1, "log_every_steps": 1, "checkpoint_every_steps": 40, "asynchronous": asynchronous},
        },
        "test",
    )


def reward_of(term: Any) -> Reward:
    return Reward([(CachedTerm(term), make_shape("minimise", {"beta": 1.0}))])


def trained(config: Config, path: Path, term: Term, **further: Any) -> tuple[RunFolder, TrainingResult]:
    folder = RunFolder(path)
    if "resume_from" not in further:
        folder.create(config, overwrite=False, plugins=[])
    return folder, train(config, folder, reward=reward_of(term), quiet=True, **further)


def terminal_states(kernel: Any) -> Any:
    world = kernel.enumerate()
    states = world.states[world.can_stop]
    return kernel.step(states, np.full(len(states), kernel.n_actions - 1))


def lines(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.metrics_path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="several worker processes")
def test_rewards_delayed_at_random_leave_the_sampler_exact(tmp_path: Path) -> None:
    """Every formula takes up to 0.2 s in one of several workers, and is computed once."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    load_plugin(tmp_path / "plugin.py")
    log = tmp_path / "log"
    data = config(steps=600, max_waiting=64).model_dump(mode="json")
    shape = {"kind": "minimise", "beta": 0.7}
    entry = {"name": "random_delay", "params": {"log": str(log), "longest_s": 0.2}, "shape": shape}
    data["reward"] = {"terms": [entry | {"isolated": True, "workers": 4}]}
    data["sampler"] |= {"batch": 64, "hidden": [128, 128], "learning_rate": 0.003, "epsilon_start": 0.3}
    wanted = validate_config(data, "test")
    folder = RunFolder(tmp_path / "run")
    folder.create(wanted, overwrite=False, plugins=[])
    train(wanted, folder, quiet=True)
    paid = log.read_text().splitlines()
    assert len(paid) == len(set(paid)), "each formula is computed once"
    run = load_run(folder)
    at_once = make_reward(validate_config(data | {"reward": {"terms": [entry | {"params": {}}]}, "run": {}}, "test"))
    exact = compare_exactly(run.kernel, run.policy, make_scorer(run.kernel, at_once))
    print(f"{exact.total_variation=:.4f} {exact.log_z_error=:.4f} {len(paid)} of {len(exact.objects)} objects computed")
    assert exact.total_variation <= 0.03
    metrics = lines(folder)
    assert max(line["n_waiting"] for line in metrics) > 4, "many waited"
    assert max(line["staleness_max"] for line in metrics) > 0
    assert metrics[-1]["n_waiting"] == 0
    assert metrics[-1]["n_calls"] == len(paid)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="several worker processes")
def test_two_trainings_at_once_with_one_store_pay_for_each_object_once(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    load_plugin(tmp_path / "plugin.py")
    data = config(steps=150, max_waiting=40).model_dump(mode="json")
    entry = {"name": "random_delay", "params": {"log": str(tmp_path / "log"), "longest_s": 0.1}, "isolated": True}
    terms = [entry | {"shape": {"kind": "minimise", "beta": 0.7}, "workers": 2, "cost": 2.0}]
    data["reward"] = {"terms": terms, "store": str(tmp_path / "store.db")}
    started = []
    for seed in ("0", "1"):
        (tmp_path / f"{seed}.yaml").write_text(dump_config(validate_config(data | {"seed": int(seed)}, "test")))
        options = ("--plugin", tmp_path / "plugin.py", "--out", tmp_path / seed)
        started.append(processes.oreflow(tmp_path / f"streams_{seed}", "train", tmp_path / f"{seed}.yaml", *options))
    assert [process.wait() for process in started] == [0, 0], [process.said for process in started]
    paid = (tmp_path / "log").read_text().splitlines()
    assert len(paid) == len(set(paid))
    last = [lines(RunFolder(tmp_path / seed))[-1] for seed in ("0", "1")]
    assert min(line["n_calls"] for line in last) > 0, "both had their part"
    assert sum(line["n_calls"] for line in last) == len(paid)
    assert sum(line["cost"] for line in last) == 2.0 * len(paid)


def test_training_goes_on_with_what_has_come_back_and_says_how_stale_it_is(tmp_path: Path) -> None:
    system = BatchSystem()
    folder, result = trained(config(), tmp_path / "run", LateTerm(system))
    metrics = lines(folder)
    assert result.steps == 120
    assert len(system.paid) == len(set(system.paid)) == metrics[-1]["n_calls"]
    waiting = [line["n_waiting"] for line in metrics]
    assert max(waiting) > 0
    assert sum(line["staleness_mean"] or 0 for line in metrics) > 0
    assert max(line["staleness_max"] for line in metrics) <= 6, "an answer comes within so many looks, one a step"
    first_of_last = round((1 - LAST_SHARE) * 120)
    assert waiting[first_of_last:] == [0] * (120 - first_of_last), "in the end all that was paid for is there"
    assert metrics[-1]["n_calls"] == metrics[first_of_last]["n_calls"]


def test_what_waits_is_neither_valid_nor_invalid_and_what_has_no_value_is_counted(tmp_path: Path) -> None:
    wanted = config()
    kernel, system = make_kernel(wanted), BatchSystem(looks=2)
    term = LateTerm(system)
    ledger = ledger_of(wanted, kernel, term, tmp_path)
    every = terminal_states(kernel)
    states = np.concatenate([every[:20], every[:5]])
    ledger.begin(0)
    values = ledger(states)
    assert not values.valid.any()
    assert (ledger.n_objects, ledger.n_invalid, ledger.n_calls, ledger.cost) == (0, 0, 20, 50.0)
    arrived, log_reward = [], []
    system.under_way = dict.fromkeys(system.under_way, 4)
    for step in range(1, 10):
        ledger.begin(step)
        if not ledger.n_objects:
            assert not ledger(states).valid.any(), "drawn again while they wait"
        late, found = ledger.arrived(wait=False)
        arrived += list(late)
        log_reward += found.tolist()
    objects = kernel.objects(every[:20])
    lithium = objects.dense()[:, 3] == objects.n_atoms
    assert lithium.sum() >= 1
    assert ledger.n_objects == 20, "each once, though they were drawn several times"
    figures = ledger.figures()
    assert (figures["staleness_mean"], figures["staleness_max"], figures["n_waiting"]) == (4, 4, 0), "since the first"
    assert ledger.n_invalid == lithium.sum()
    expected = {s.tobytes(): r for s, r in zip(every[:20], make_scorer(kernel, reward_of(term))(every[:20])) if r == r}
    assert {s.tobytes(): r for s, r in zip(np.array(arrived), log_reward)} == pytest.approx(expected)
    again = ledger(states)
    assert again.valid[:20].sum() == 20 - lithium.sum(), "what is known is scored at once"
    assert again.log_share[:20][again.valid[:20]] == pytest.approx(list(expected.values()))
    assert ledger.n_calls == 20


def ledger_of(wanted: Config, kernel: Any, term: LateTerm, folder: Path, second: Any = None) -> AsynchronousLedger:
    failures, settings = RewardFailures(folder / "failures"), wanted.run.asynchronous
    assert settings is not None
    reward = reward_of(term)
    if second is not None:
        reward.terms += reward_of(second).terms
    given = kernel, reward, failures, 1.0, wanted.target
    return AsynchronousLedger(*given, settings=settings, steps=100, costs=[2.5, 1.0][: len(reward.terms)])


def test_an_object_is_complete_when_all_of_its_terms_are(tmp_path: Path) -> None:
    wanted = config(budget_calls=30)
    kernel, quick, slow = make_kernel(wanted), BatchSystem(looks=1), BatchSystem(looks=1)
    second = LateTerm(slow)
    second.name = "later"
    ledger = ledger_of(wanted, kernel, LateTerm(quick), tmp_path, second)
    states = terminal_states(kernel)[:20]
    ledger.begin(0)
    ledger(states)
    assert (ledger.n_calls, ledger.cost) == (30, 15 * 3.5), "15 objects of two values each"
    slow.under_way = dict.fromkeys(slow.under_way, 3)
    for step in (1, 2):
        ledger.begin(step)
        assert not ledger(states).valid.any()
        assert not len(ledger.arrived(wait=False)[0])
    assert len(quick.done) == 15
    assert ledger.n_objects == 0
    ledger.begin(3)
    assert len(ledger.arrived(wait=False)[0]) + ledger.n_invalid == 15
    assert ledger.n_calls == 30


def test_where_there_is_no_room_a_step_waits_and_leaves_nothing_out(tmp_path: Path) -> None:
    wanted = config(max_waiting=5)
    kernel, system = make_kernel(wanted), BatchSystem(looks=4)
    ledger = ledger_of(wanted, kernel, LateTerm(system), tmp_path)
    ledger.begin(0)
    ledger(terminal_states(kernel)[:30])
    assert (ledger.n_calls, len(system.paid), system.most) == (30, 30, 5)
    assert len(ledger.arrived(wait=False)[0]) + ledger.n_invalid + len(ledger.arrays()["waiting_states"]) == 30


def test_no_more_wait_than_may_and_none_longer_than_it_may(tmp_path: Path) -> None:
    system = BatchSystem(looks=20)
    folder, _ = trained(config(max_waiting=7, max_stale_steps=2), tmp_path / "run", LateTerm(system))
    metrics = lines(folder)
    assert system.most == 7
    assert max(line["n_waiting"] for line in metrics) <= 7
    assert max(line["staleness_max"] for line in metrics) == 2


@pytest.mark.parametrize(
    ("budget", "looks"), [({"budget_calls": 31}, 10), ({"budget_cost": 31 * 0.3}, 10), ({"max_waiting": 30}, 60)]
)
def test_a_budget_is_spent_and_nothing_that_was_paid_for_is_unused(
    tmp_path: Path, budget: dict[str, Any], looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last case has no budget, and answers that would come long after the last step."""
    from oreflow.agent.learners.replay import ReplayBuffer

    used: set[bytes] = set()
    add = ReplayBuffer.add

    def noting(self: ReplayBuffer, states: Any, log_reward: Any) -> None:
        used.update(row.tobytes() for row in states)
        add(self, states, log_reward)

    monkeypatch.setattr(ReplayBuffer, "add", noting)
    system = BatchSystem(looks=looks)
    steps = 12 if "max_waiting" in budget else 40
    wanted = config(steps=steps, cost=0.3, **budget)
    folder, result = trained(wanted, tmp_path / "run", LateTerm(system))
    *_, before_last, last = lines(folder)
    assert result.steps == steps, "training goes on with what is known"
    assert last["n_calls"] == before_last["n_calls"], "in the last twentieth nothing new is paid for"
    n = len(system.paid) if "max_waiting" in budget else 31
    assert len(system.paid) == last["n_calls"] == n
    assert last["cost"] == pytest.approx(n * 0.3)
    assert last["n_waiting"] == 0
    kernel = make_kernel(wanted)
    every = terminal_states(kernel)
    of_key = dict(zip(kernel.objects(every).key_bytes(), every))
    sound = [of_key[key] for key in system.paid]
    pure = kernel.objects(np.array(sound)).dense()[:, 3] == kernel.objects(np.array(sound)).n_atoms
    assert used == {row.tobytes() for row, no_value in zip(sound, pure) if not no_value}


def test_what_was_under_way_is_taken_up_again_and_not_paid_twice(tmp_path: Path) -> None:
    system = BatchSystem(looks=15)

    def stop(line: TrainingLine) -> bool:
        return line.step == 12

    wanted = config(steps=60)
    folder, stopped = trained(wanted, tmp_path / "run", LateTerm(system), callback=stop)
    assert stopped.stopped_by == "callback"
    waiting = load_arrays(stopped.checkpoint)
    assert len(waiting["waiting_states"]) == stopped.metrics["n_waiting"] > 0
    n_paid = len(system.paid)
    for _ in range(40):  # the batch system works on while no training is there
        system.look()
    term = LateTerm(system)
    _, result = trained(wanted, tmp_path / "run", term, resume_from=stopped.checkpoint)
    last = lines(folder)[-1]
    assert result.steps == 60
    assert n_paid < len(system.paid) == len(set(system.paid))
    known_before = n_paid - stopped.metrics["n_waiting"]
    again = term.n_submitted - (len(system.paid) - n_paid)
    assert again <= n_paid, "what was done is asked for again, and paid for by nobody"
    assert last["n_waiting"] == 0
    assert last["n_calls"] - stopped.metrics["n_calls"] == term.n_submitted - len(waiting["waiting_states"])
    assert known_before >= 0


def test_a_store_serves_a_resumed_training_and_a_second_one(tmp_path: Path) -> None:
    """What is in the store is paid by nobody again: neither after a stop, nor by another seed."""
    identity = TermIdentity("late", "1", "{}")
    jobs: list[bytes] = []

    def begun(config: Config, path: Path, **further: Any) -> tuple[TrainingResult, BatchSystem]:
        system = BatchSystem(looks=8)
        store = RewardStore(str(tmp_path / "store.db"))
        term = StoredTerm(LateTerm(system), store, identity, 2.0)
        try:
            return trained(config, path, term, **further)[1], system
        finally:
            jobs.extend(system.done)
            term.close()
            store.close()

    wanted = config(steps=60, budget_calls=70)
    stopped, first = begun(wanted, tmp_path / "a", callback=lambda line: line.step == 10)
    assert first.under_way, "which end with the first training; its batch system is gone"
    result, second = begun(wanted, tmp_path / "a", resume_from=stopped.checkpoint)
    other, third = begun(wanted.model_copy(update={"seed": 1}), tmp_path / "b")
    assert result.steps == other.steps == 60
    assert len(jobs) == len(set(jobs)), "no value was computed twice"
    assert first.done
    assert second.done
    assert result.metrics["n_calls"] == 70 == len(first.done) + len(second.done)
    assert other.metrics["n_calls"] == len(third.paid) <= 118 - 70, "what the first one knows is known to the second"


def test_a_signal_ends_a_step_that_waits(tmp_path: Path) -> None:
    stop = StopFlag()

    class Never(LateTerm):
        n_looks = 0

        def collect(self, timeout_s: float) -> int:
            self.n_looks += 1
            if self.n_looks == 5:
                stop.raised = "SIGTERM"
            return 0

    folder, result = trained(config(max_waiting=5), tmp_path / "run", Never(BatchSystem()), stop=stop)
    assert result.stopped_by == "SIGTERM"
    assert len(load_arrays(result.checkpoint)["waiting_states"]) == 5
    assert folder.latest_checkpoint() == result.checkpoint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": {"replay": {"share": 0.0}}}, "replay.share is 0"),
        ({"sampler": {"kind": "policy_gradient", "replay": {"share": 0}, "epsilon_start": 0}}, "choose gflownet"),
        ({"sampler": {"local_search": {"rounds": 1}}}, "local_search needs each reward at once"),
        ({"run": {"measure_every": 10}}, "would ask for the rewards of all objects"),
        ({"run": {"asynchronous": {"max_waiting": 0}}}, "max_waiting"),
        ({"run": {"asynchronous": {"budget_cost": 10.0}}}, "no isolated term has a cost"),
        ({"run": {"asynchronous": {"budget": 10}}}, "unknown key run.asynchronous.budget; .*budget_"),
    ],
)
def test_what_cannot_go_on_without_its_rewards_is_refused(change: dict[str, Any], said: str) -> None:
    data = config().model_dump(mode="json")
    for section, keys in change.items():
        data[section] |= keys
    if "kind" in change.get("sampler", {}):
        data["sampler"].pop("objective")
    with pytest.raises(ConfigError, match=said):
        validate_config(data, "test")


def test_terms_that_answer_at_once_leave_nothing_to_wait_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no term has isolated: true"):
        config(isolated=False)
    wanted = config()
    folder = RunFolder(tmp_path / "run")
    folder.create(wanted, overwrite=False, plugins=[])
    at_once = make_reward(wanted.model_copy(update={"reward": config().reward.model_copy(deep=True)}))
    plain = Reward([(at_once.terms[0][0].unwrapped, at_once.terms[0][1])])
    del plain.terms[0]
    with pytest.raises(RewardParameterError, match="can be asked without waiting"):
        train(wanted, folder, reward=plain, quiet=True)
