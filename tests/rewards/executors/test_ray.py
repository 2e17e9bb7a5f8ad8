"""Executor `ray`: a crash, a hang or a lost node costs no other task, nothing is paid twice, errors are sentences."""

import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.errors import ExecutorError, WorkersLostError
from oreflow.rewards.executors import ray_task
from oreflow.rewards.executors.in_turn import run_tasks
from oreflow.rewards.executors.process import running_workers
from oreflow.rewards.executors.protocol import Answer, Task, Work
from oreflow.rewards.executors.ray_cluster import connect
from oreflow.rewards.executors.ray_tasks import RayExecutor
from oreflow.rewards.executors.settings import ExecutorSettings, make_executor
from oreflow.rewards.isolation.term import IsolatedTerm
from tests.support import relax_fakes
from tests.support.repository import ROOT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what Ray's next versions will change
    try:
        import ray
        from ray.cluster_utils import Cluster
    except ImportError:
        ray = None

needs_ray = pytest.mark.skipif(ray is None, reason="Ray is not installed")
# Ray leaves sockets and files for the interpreter's end to close.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::FutureWarning"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes on this machine, with two CPUs and one as far as Ray is told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
        memory = {"object_store_memory": 100 << 20}
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **memory})
        made.add_node(num_cpus=1, **memory)
        made.wait_for_nodes()
        yield made
        ray.shutdown()
        made.shutdown()


def executor(cluster: Any, make: Any = relax_fakes.make_echo, **options: Any) -> RayExecutor:
    options = {"time_limit_s": 3.0, "retries": 0, **options}
    return RayExecutor(Work("echo", {}, make), address=cluster.address, **options)


def answers_by_id(tasks: list[str], made: RayExecutor) -> dict[str, Answer]:
    return {answer.id: answer for answer in run_tasks([Task(text, text) for text in tasks], made)}


@needs_ray
def test_faults_cost_only_the_task_that_has_them(cluster: Any, capfd: pytest.CaptureFixture[str]) -> None:
    tasks = ["a", "raise", "exit", "b", "segfault", "kill", "hang", "print", "threads"]
    made = executor(cluster)
    found = answers_by_id(tasks, made)
    assert {name: answer.kind for name, answer in found.items()} == {
        "a": "done", "raise": "raised", "exit": "crashed", "b": "done", "segfault": "crashed", "kill": "crashed",
        "hang": "hung", "print": "done", "threads": "done",
    }  # fmt: skip
    assert found["a"].value == "a done"
    assert found["threads"].value == ["1", "1"]
    assert found["raise"].reason == "this one is wrong"
    assert found["exit"].reason == "its process ended with exit code 7"
    assert found["segfault"].reason == "its process was killed by SIGSEGV"
    assert found["hang"].reason.startswith("no answer within 3 s")
    assert (made.slots, made.n_lost) == (3, 4)
    assert not running_workers(), "nothing is worked at in this process"
    assert capfd.readouterr().out == ""


@needs_ray
def test_a_task_under_way_is_not_taken_twice_and_a_crash_is_tried_again(cluster: Any) -> None:
    made = executor(cluster, retries=2, workers=1)
    made.submit([Task("a", "a"), Task("a", "a")])
    made.submit([Task("a", "a"), Task("b", "exit")])
    found = []
    while len(found) < 2:
        found += made.collect(60.0)
    assert sorted((answer.id, answer.kind) for answer in found) == [("a", "done"), ("b", "crashed")]
    assert made.n_lost == 3, "the first try and two more"
    assert made.collect(60.0) == [], "nothing is under way: nothing is waited for"
    made.close()


@needs_ray
def test_what_is_given_up_is_ended_and_others_go_on(cluster: Any, tmp_path: Path) -> None:
    made = executor(cluster, time_limit_s=600.0)
    made.submit([Task(str(i), "hang") for i in range(3)])
    assert made.collect(1.0) == []
    made.close()
    assert made.collect(1.0) == []
    assert [answer.value for answer in run_tasks([Task("a", "a")], executor(cluster))] == ["a done"]


@needs_ray
def test_an_isolated_term_gives_the_values_that_it_gives_here(cluster: Any) -> None:
    batch = parse_formulas(["Fe3O4", "Na2Cl", "NaCl", "CaO", "TiO2"])[0]
    here = IsolatedTerm("charge_balance", {"mixed_valence": True})
    there = IsolatedTerm(
        "charge_balance", {"mixed_valence": True}, executor=ExecutorSettings("ray", address=cluster.address)
    )
    np.testing.assert_array_equal(there(batch).values, here(batch).values)
    assert (there.unit, there.version, there.n_workers_lost) == (here.unit, here.version, 0)
    here.close()


@needs_ray
@pytest.mark.slow
def test_a_node_killed_a_crash_and_a_hang_lose_nothing_and_pay_nothing_twice(
    cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.rewards.bench_executors import run

    ray.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
        found = run(n_objects=60, workers=6, seconds=0.5, time_limit_s=3.0)
    assert (found["submitted"], found["answers"], found["valid"]) == (60, 60, 58)
    assert sorted(found["set_aside"].values()) == [
        "its process ended with exit code 9; set aside", "no answer within 3 s; set aside"
    ]  # fmt: skip
    assert (found["paid_twice"], found["never_called"], found["left_behind"], found["right"]) == (0, 0, 0, True)
    assert 3 <= found["called_twice"] <= 5, "three faults, and what the two workers of the killed node were at"
    told = capfd.readouterr()
    assert "raylet" not in told.out, "standard output is a verb's own"
    assert "Task answer_task failed" in told.err


@needs_ray
@pytest.mark.slow
def test_a_task_that_loses_its_machine_again_and_again_is_answered_in_the_end(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oreflow.rewards.executors.ray_tasks.MAX_MACHINES_LOST", 1)
    made = executor(cluster, relax_fakes.make_parent_killer, time_limit_s=600.0)
    (answer,) = run_tasks([Task("a", "a")], made)
    assert (answer.kind, answer.reason) == ("crashed", "each machine that worked at it went away")
    assert made.n_lost == 1


@needs_ray
@pytest.mark.slow
def test_what_fills_the_memory_again_and_again_is_answered_in_the_end(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")  # as much as this is always in use
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 << 20}
    full = Cluster(initialize_head=True, head_node_args=node)
    try:
        made = executor(full, time_limit_s=600.0)
        (answer,) = run_tasks([Task("a", "hang")], made)
    finally:
        ray.shutdown()
        full.shutdown()
    assert (answer.kind, made.n_lost) == ("crashed", 1)
    assert answer.reason == "each machine that worked at it ran out of memory"
    assert "running low on memory" in answer.output


@needs_ray
def test_workers_that_cannot_work_end_it(cluster: Any) -> None:
    with pytest.raises(WorkersLostError, match="cannot start: RuntimeError: no such weights"):
        executor(cluster, relax_fakes.make_broken).start()
    made = executor(cluster, relax_fakes.make_dead)
    made.submit([Task("a", "a")])
    with pytest.raises(WorkersLostError, match="cannot start: its process ended with exit code 9"):
        made.collect(60.0)


@needs_ray
def test_another_version_of_the_package_on_a_node_is_refused(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oreflow.rewards.executors.ray_tasks.version", lambda package: "0.0.1")
    with pytest.raises(WorkersLostError, match=r"expected oreflow 0\.0\.1, as where the run was .* on all nodes"):
        executor(cluster).start()


@needs_ray
def test_connecting_leaves_signals_as_they_were(cluster: Any) -> None:
    ray.shutdown()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    connect(cluster.address)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


@needs_ray
@pytest.mark.parametrize("address", ["nowhere", "host:", ":6379", "ray://host"])
def test_an_address_of_another_form_is_said(cluster: Any, address: str) -> None:
    ray.shutdown()
    with pytest.raises(ExecutorError, match=f"as HOST:PORT or ray://HOST:PORT, got '{address}'"):
        connect(address)


@needs_ray
def test_an_address_where_no_ray_is_is_said(cluster: Any) -> None:
    ray.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    with pytest.raises(
        ExecutorError, match=rf"a Ray cluster at 127.0.0.1:{port}, got: .*refused; start one there with"
    ):
        connect(f"127.0.0.1:{port}")
    # Called for a term, as a run does it.
    settings = ExecutorSettings("ray", address=f"127.0.0.1:{port}")
    with pytest.raises(ExecutorError, match="a Ray cluster at"):
        IsolatedTerm("charge_balance", executor=settings)


@needs_ray
def test_versions_of_ray_that_differ_are_said(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ray.shutdown()
    monkeypatch.setattr(ray, "__version__", "1.2.3")
    with pytest.raises(ExecutorError, match=r"the versions of Ray and Python that are here; .*1\.2\.3.* on both sides"):
        connect(cluster.address)


def test_without_ray_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    made = make_executor(ExecutorSettings("ray"), Work("echo", {}, relax_fakes.make_echo), time_limit_s=1.0)
    with pytest.raises(ExecutorError, match=r"got none installed: pip install 'oreflow\[ray\]'"):
        made.start()


def test_a_worker_beside_rays_keeps_its_process_between_tasks() -> None:
    """What Ray calls, called here."""
    made = RayExecutor(Work("echo", {}, relax_fakes.make_echo), time_limit_s=3.0, retries=0)
    before = running_workers()
    first = ray_task.answer_task(made._recipe, Task("a", "a"))
    own = set(running_workers()) - set(before)
    second = ray_task.answer_task(made._recipe, Task("b", "exit"))
    third = ray_task.answer_task(made._recipe, Task("c", "c"))
    assert [part["answer"].kind for part in (first, second, third)] == ["done", "crashed", "done"]
    assert [part["n_lost"] for part in (first, second, third)] == [0, 1, 0]
    assert len(own) == 1
    assert not own & set(running_workers()), "the crashed one was replaced"
    ray_task._executors.pop(made._recipe).close()
