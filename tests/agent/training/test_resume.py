"""A training that is stopped and resumed leaves the files of one that ran through; what does not fit is refused."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from oreflow.agent.config.run import Config, load_config, validate_config
from oreflow.agent.errors import CheckpointError, CheckpointWarning, RunFolderError
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.sample import sample
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.checkpoint import list_checkpoints
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training import loop as module
from oreflow.agent.training.loop import TrainingResult, train
from oreflow.agent.training.resume import CHANGEABLE, check_fits, find_checkpoint
from tests.support.checkpoints import edit_state

TARGET = {"kind": "target", "term": "charge_balance", "range": [0.0, 4.0]}
SAMPLERS: dict[str, dict[str, Any]] = {
    "trajectory_balance": {},
    "learned_backward": {"backward": "learned"},
    "sub_trajectory_balance": {"objective": "sub_trajectory_balance"},
    "detailed_balance": {"objective": "detailed_balance"},
    "log_partition_variance": {"objective": "log_partition_variance"},
    "replay": {"replay": {"share": 0.5, "capacity": 40}, "epsilon_start": 0.2, "temperature_start": 2.0},
    "local_search": {"local_search": {"rounds": 2}, "replay": {"share": 0.25}},
    "baseline": {"kind": "policy_gradient", "objective": "baseline"},
    "gae": {"kind": "policy_gradient", "backward": "learned"},
    "entropic_ppo": {"kind": "policy_gradient", "objective": "entropic_ppo", "ppo_epochs": 2},
    "temperature": {"family": {"kind": "temperature"}, "backward": "learned"},
    "temperature_gae": {"family": {"kind": "temperature"}, "kind": "policy_gradient"},
    "preference": {"family": {"kind": "preference"}, "objective": "detailed_balance"},
    "target": {"family": TARGET},
    "target_gae": {"family": TARGET, "kind": "policy_gradient"},
    "target_and_preference": {"family": TARGET | {"kind": ["target", "preference"], "hindsight": 0.5}},
    "random": {"kind": "random"},
    "metropolis_hastings": {"kind": "metropolis_hastings"},
    "genetic": {"kind": "genetic"},
    "ion_exchange": {"kind": "ion_exchange", "warm_start": {"path": "known.csv"}},
    "prototype_decoration": {"kind": "prototype_decoration", "warm_start": {"path": "known.csv"}},
}


def tiny(**sampler: Any) -> Config:
    terms: list[dict[str, Any]] = [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}}]
    kind = sampler.get("family", {}).get("kind", "none")
    if "target" in kind:
        terms[0]["shape"] = {"kind": "target", "value": 1.0, "width": 0.5}
    if "preference" in kind:
        terms.append({"name": "electronegativity_balance", "shape": {"kind": "verdict", "log_penalty": 1.0}})
    return validate_config(
        {
            "schema_version": 1,
            "world": {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "soft"},
            "reward": {"terms": terms},
            "sampler": {"steps": 23, "batch": 24, "hidden": [16]} | sampler,
            "run": {"threads": 1, "log_every_steps": 5, "checkpoint_every_steps": 8},
        },
        "test",
    )


class Killed(Exception):
    """Stands for SIGKILL: nothing runs after it."""


def run_until(
    config: Config, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, stop_at: int | None, **options: Any
) -> TrainingResult | None:
    """Trains; at `stop_at` reward calls the process is gone, and with it all that was not written."""
    make = module.make_reward
    calls = []

    def dying(config: Config) -> Any:
        reward = make(config)

        class Dying(type(reward)):  # type: ignore[misc]
            def __call__(self, batch: Any) -> Any:
                calls.append(1)
                if len(calls) == stop_at:
                    raise Killed
                return super().__call__(batch)

        reward.__class__ = Dying
        return reward

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_reward", dying)
        if stop_at is None:
            return train(config, folder, quiet=True, **options)
        with pytest.raises(Killed):
            train(config, folder, quiet=True, **options)
    return None


def made(path: Path, config: Config) -> RunFolder:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    return folder


def contents(folder: RunFolder) -> dict[str, Any]:
    """Everything that must repeat: the last checkpoint to the last bit, and the metrics."""
    path = folder.latest_checkpoint()
    out: dict[str, Any] = {"metrics": folder.metrics_path.read_bytes(), "step": path.name}
    for file in sorted(path.iterdir()):
        if file.suffix == ".safetensors":
            out |= {f"{file.name}:{name}": tensor.tobytes() for name, tensor in load_file(file).items()}
        elif file.suffix == ".npz":
            with np.load(file) as arrays:
                out |= {f"{file.name}:{name}": arrays[name].tobytes() for name in arrays}
        elif file.name == "state.json":
            state = json.loads(file.read_text())
            state["log_sizes"].pop("timings.jsonl")  # what the clock said may differ
            out["state"] = state
    return out


@pytest.mark.parametrize("name", SAMPLERS)
def test_killed_and_resumed_twice_equals_running_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = tiny(**SAMPLERS[name])
    known = tmp_path / "known.csv"
    if config.sampler.warm_start.path is not None:
        known.write_text("formula\nNa2O\nMgO\nLiFeO2\n")
        config.sampler.warm_start.path = str(known)
    through = made(tmp_path / "through", config)
    train(config, through, quiet=True)
    stopped = made(tmp_path / "stopped", config)
    calls_a_step = 3 if name == "local_search" else 1
    run_until(config, stopped, monkeypatch, stop_at=11 * calls_a_step)
    known.unlink(missing_ok=True)  # what a run began with lies in its checkpoints
    for stop_at in (9 * calls_a_step, None):
        checkpoint, state = find_checkpoint(stopped, fall_back=False)
        check_fits(state, config, stopped)
        run_until(config, stopped, monkeypatch, stop_at, resume_from=checkpoint)
    assert [path.name for path in list_checkpoints(stopped.checkpoints)][-1] == "step_00000023"
    one, other = contents(through), contents(stopped)
    assert one.keys() == other.keys()
    assert [key for key in one if one[key] != other[key]] == []
    draws = [load_run(folder).sampler.draw(50, stream(3, "sampling")) for folder in (through, stopped)]
    assert np.array_equal(*draws)


@pytest.mark.parametrize("step", [1, 7, 8, 13, 22])
def test_a_signal_at_any_step_leaves_a_run_that_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    config = tiny()
    through = made(tmp_path / "through", config)
    train(config, through, quiet=True)
    stopped = made(tmp_path / "stopped", config)
    honest, calls = module._Figures.add, []

    def signalled(*arguments: Any) -> None:
        calls.append(1)
        honest(*arguments)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(module._Figures, "add", signalled)
        result = train(config, stopped, quiet=True)
    assert (result.stopped_by, result.steps) == ("SIGTERM", step)
    assert json.loads(stopped.metrics_path.read_text().splitlines()[-1])["step"] == step
    train(config, stopped, resume_from=stopped.latest_checkpoint(), quiet=True)
    assert contents(through) == contents(stopped)


def test_candidates_after_resuming_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny()
    tables = []
    for name in ("through", "stopped"):
        folder = made(tmp_path / name, config)
        if name == "stopped":
            run_until(config, folder, monkeypatch, stop_at=20)
            train(config, folder, resume_from=folder.latest_checkpoint(), quiet=True)
        else:
            train(config, folder, quiet=True)
        sample(folder, 30, out=folder.samples, quiet=True)
        tables.append((folder.samples / "candidates.csv").read_bytes())
    assert tables[0] == tables[1]


def test_changed_configs_are_refused_key_by_key(tmp_path: Path) -> None:
    config = tiny(steps=8)
    folder = made(tmp_path / "run", config)
    train(config, folder, quiet=True)
    _, state = find_checkpoint(folder, fall_back=False)
    check_fits(state, config, folder)
    longer = load_config(folder.config_path, ["sampler.steps=20", "run.log_every_steps=1", "purpose=longer"])
    check_fits(state, longer, folder)
    for override, said in {
        "sampler.learning_rate=0.5": r"sampler\.learning_rate was 0\.001, is 0\.5",
        "world.elements=[Li, Fe, O]": r"world\.elements was \['Li', 'Mn', 'O'\], is \['Li', 'Fe', 'O'\]",
        "reward.terms.0.shape.beta=0.7": r"reward\.terms\.0\.shape\.beta was 0\.5, is 0\.7",
        "seed=5": r"seed was 0, is 5",
    }.items():
        with pytest.raises(RunFolderError, match=said) as error:
            check_fits(state, load_config(folder.config_path, [override]), folder)
        assert all(key in str(error.value) for key in CHANGEABLE)


def test_other_versions_are_warned_of(tmp_path: Path) -> None:
    config = tiny(steps=4)
    folder = made(tmp_path / "run", config)
    train(config, folder, quiet=True)
    edit_state(folder.latest_checkpoint(), versions={"torch": "1.0.0", "numpy": np.__version__})
    with pytest.warns(CheckpointWarning, match=r"step_00000004 was written with torch 1\.0\.0, this is"):
        find_checkpoint(folder, fall_back=False)
    with pytest.warns(CheckpointWarning, match=r"was written with torch 1\.0\.0, this is"):
        load_run(folder)


def test_a_damaged_newest_checkpoint_is_passed_over_only_on_request(tmp_path: Path) -> None:
    config = tiny()
    folder = made(tmp_path / "run", config)
    train(config, folder, quiet=True)
    newest = folder.latest_checkpoint()
    (newest / "policy.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"policy\.safetensors .* checksum.*add --auto"):
        find_checkpoint(folder, fall_back=False)
    with pytest.warns(UserWarning, match=r"going on from step_00000016 instead"):
        path, state = find_checkpoint(folder, fall_back=True)
    assert (path.name, state["step"]) == ("step_00000016", 16)
    shutil.rmtree(path)
    with pytest.raises(CheckpointError) as error:
        find_checkpoint(folder, fall_back=True)
    assert "--auto" not in str(error.value)
