"""Checkpoints: what is saved is loaded, what is damaged or foreign is refused by name, and a crash costs nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import CheckpointError, RunFolderError
from oreflow.agent.learners.learner import make_optimizer
from oreflow.agent.policy.network import Policy
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage import checkpoint as module
from oreflow.agent.storage.atomic_files import sha256
from oreflow.agent.storage.checkpoint import (
    list_checkpoints,
    load_optimizer,
    load_policy,
    save_checkpoint,
    verify_checkpoint,
)
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_kernel, make_policy
from tests.support.checkpoints import empty, flip_a_bit, truncate
from tests.support.repository import ROOT

FILES = ("policy.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json")


def config_of(elements: tuple[str, ...] = ("Li", "Mn", "O"), **sampler: object) -> Config:
    return validate_config(
        {
            "schema_version": 1,
            "world": {
                "elements": list(elements),
                "n_elements": [1, min(3, len(elements))],
                "n_atoms": [1, 6],
                "neutrality": "off",
            },
            "reward": {"terms": [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}}]},
            "sampler": {"hidden": [8]} | sampler,
            "run": {"threads": 1},
        },
        "test",
    )


def policy_of(config: Config) -> Policy:
    return make_policy(config, make_kernel(config))


def stepped(config: Config, n: int = 3) -> tuple[Policy, torch.optim.Optimizer]:
    """A policy and its optimizer after a few steps along made-up gradients."""
    policy = policy_of(config)
    optimizer = make_optimizer(policy, config)
    for i in range(n):
        optimizer.zero_grad()
        sum((parameter * (i + 1.5)).sum() for parameter in policy.parameters()).backward()
        optimizer.step()
    return policy, optimizer


def save(folder: Path, step: int = 12, config: Config | None = None, keep: int = 2, **state: Any) -> Path:
    policy, optimizer = stepped(config or config_of())
    return save_checkpoint(folder, step, policy, optimizer, np.random.default_rng(5), state, keep)


def save_of(folder: Path, step: int, config: Config) -> Path:
    """With the config beside the weights, as training writes it."""
    policy, optimizer = stepped(config)
    state = {"config": config.model_dump(mode="json")}
    return save_checkpoint(folder, step, policy, optimizer, np.random.default_rng(5), state, 2)


def resign(path: Path) -> None:
    """A manifest that fits the files as they are now."""
    digests = {name: sha256(path / name) for name in FILES[:-1]}
    (path / "MANIFEST.json").write_text(json.dumps(digests))


@pytest.mark.parametrize("backward", ["uniform", "learned"])
def test_weights_moments_counters_and_random_state_come_back(tmp_path: Path, backward: str) -> None:
    config = config_of(backward=backward)
    policy, optimizer = stepped(config)
    rng = np.random.default_rng(5)
    rng.random(7)
    path = save_checkpoint(tmp_path, 12, policy, optimizer, rng, {"n_objects": 640}, keep=2)
    assert path == tmp_path / "step_00000012"
    assert sorted(p.name for p in path.iterdir()) == sorted(FILES)

    again = policy_of(config)
    state = load_policy(path, again)
    assert (state["step"], state["n_objects"]) == (12, 640)
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    restored = np.random.default_rng(0)
    restored.bit_generator.state = state["rng"]
    assert restored.random() == rng.random()

    twin = make_optimizer(again, config)
    load_optimizer(path, twin)
    for one, other in ((policy, optimizer), (again, twin)):
        other.zero_grad()
        sum((parameter**2).sum() for parameter in one.parameters()).backward()
        other.step()
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), f"{name} after the next step"


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("name", FILES)
def test_every_damaged_file_is_named(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    path = save(tmp_path)
    verify_checkpoint(path)
    before = policy_of(config_of())
    untouched = {key: tensor.clone() for key, tensor in before.state_dict().items()}
    damage(path / name)
    with pytest.raises(CheckpointError) as error:
        load_policy(path, before)
    # A flipped bit in the manifest shows as the file whose digest it holds.
    if not (name == "MANIFEST.json" and damage is flip_a_bit):
        assert name in str(error.value)
    assert all(torch.equal(tensor, untouched[key]) for key, tensor in before.state_dict().items())


@pytest.mark.parametrize("text", ["[]", "{}", '"policy.safetensors"', "[1, 2]", '{"state.json": 5}', "null"])
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = save(tmp_path)
    (path / "MANIFEST.json").write_text(text)
    with pytest.raises(CheckpointError):
        verify_checkpoint(path)


def test_a_manifest_cannot_point_outside_the_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path)
    (tmp_path / "outside").write_text("x")
    digests = json.loads((path / "MANIFEST.json").read_text()) | {"../outside": sha256(tmp_path / "outside")}
    (path / "MANIFEST.json").write_text(json.dumps(digests))
    with pytest.raises(CheckpointError, match="outside is missing"):
        verify_checkpoint(path)


def test_a_pickle_in_place_of_the_weights_is_refused_unread(tmp_path: Path) -> None:
    path = save(tmp_path)
    torch.save({"x": torch.zeros(1)}, path / "policy.safetensors")
    with pytest.raises(CheckpointError, match=r"policy\.safetensors is missing or does not match its checksum"):
        load_policy(path, policy_of(config_of()))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    state = json.loads((path / "state.json").read_text()) | {"schema_version": 99}
    (path / "state.json").write_text(json.dumps(state))
    resign(path)
    with pytest.raises(CheckpointError, match="has schema 99, this version of oreflow reads 2"):
        load_policy(path, policy_of(config_of()))


@pytest.mark.parametrize(
    "other",
    [config_of(("Li", "O")), config_of(hidden=[8, 8]), config_of(hidden=[9]), config_of(backward="learned")],
    ids=["fewer elements", "deeper", "wider", "learned backward policy"],
)
def test_another_world_or_network_is_refused(tmp_path: Path, other: Config) -> None:
    path = save(tmp_path)
    with pytest.raises(CheckpointError, match=r"belongs to another world or network: .* differ in shape"):
        load_policy(path, policy_of(other))


def test_other_elements_of_the_same_number_are_refused(tmp_path: Path) -> None:
    """The shapes agree, so only the world written beside the weights can tell."""
    trained, other = config_of(("Li", "Mn", "O")), config_of(("Na", "Fe", "S"))
    folder = RunFolder(tmp_path / "run")
    folder.create(trained, overwrite=False, plugins=[])
    save_of(folder.checkpoints, 12, trained)
    assert load_run(folder).step == 12
    save_of(folder.checkpoints, 13, other)
    with pytest.raises(RunFolderError, match=r"world.elements was \['Na', 'Fe', 'S'\], is \['Li', 'Mn', 'O'\]"):
        load_run(folder)


def test_only_the_newest_stay(tmp_path: Path) -> None:
    for step in (5, 10, 20, 100):
        save(tmp_path, step, keep=3)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000010", "step_00000020", "step_00000100"]
    save(tmp_path, 100, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000100"]


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match="no complete checkpoint yet"):
        folder.latest_checkpoint()
    save(folder.checkpoints, 1)
    shutil.copytree(folder.checkpoints / "step_00000001", folder.checkpoints / "step_00000002")
    (folder.checkpoints / "step_00000002" / "MANIFEST.json").unlink()
    assert folder.latest_checkpoint().name == "step_00000001"


@pytest.mark.parametrize("function", ["sha256", "save_file"])
def test_a_failure_while_writing_leaves_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    first = save(tmp_path, 1)
    original, calls = getattr(module, function), []

    def fails_the_second_time(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(module, function, fails_the_second_time)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    load_policy(first, policy_of(config_of()))


KILLED = """
import os, signal, sys
from pathlib import Path
import oreflow.agent.storage.checkpoint as module
from tests.agent.storage.test_checkpoint import save
save(Path(sys.argv[1]), 1)
module.sha256 = lambda path: os.kill(os.getpid(), signal.SIGKILL)
save(Path(sys.argv[1]), 2)
"""


def test_a_kill_while_writing_leaves_the_previous_checkpoint_and_its_litter_is_swept(tmp_path: Path) -> None:
    root = ROOT
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp_step_00000002", "step_00000001"]
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_00000001"]
    load_policy(tmp_path / "step_00000001", policy_of(config_of()))
    save(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000001", "step_00000003"]
