"""Policies and objectives of your own: the example from training to exact comparison, contracts, and bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import oreflow
from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.errors import ConfigError, TrainingError
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.objectives.plugin import ObjectiveBatch, check_objective
from oreflow.agent.policy.plugin import PolicySizes
from oreflow.agent.registry import POLICIES, register_objective, register_policy
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.checkpoint import list_checkpoints
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import check_plugins, make_kernel, make_reward, make_scorer
from oreflow.agent.training.loop import TrainingLine, train
from oreflow.envs import plugins
from oreflow.rewards.errors import PluginError
from oreflow.rewards.registry import load_plugin
from tests.support.cli import done, refused
from tests.support.repository import ROOT

EXAMPLE = ROOT / "examples" / "my_policy.py"


@pytest.fixture(autouse=True)
def _plugins_of_this_file(_own_registry: None) -> None:
    """The fixture of the suite forgets them after each test."""
    load_plugin(EXAMPLE)
    register_policy("mean")(Mean)


class Mean(nn.Module):
    """The mean embedding of a bag; `fault` breaks a clause."""

    def __init__(self, sizes: PolicySizes, fault: str = "") -> None:
        super().__init__()
        self.width, self.fault = 8, fault
        self.table = nn.Parameter(torch.randn(sizes.n_tokens + 1, 8, generator=sizes.generator))

    def forward(self, tokens: Tensor, condition: Tensor | None) -> Tensor:
        x = self.table[tokens].mean(1)
        match self.fault:
            case "width":
                return x[:, :5]
            case "finite":
                return x / 0
            case "order":
                return x - x.mean(0)
            case "first":
                return x + torch.arange(len(x))[:, None]
            case "gradient":
                return x.detach()
        return x


def tiny(**sampler: Any) -> Config:
    return validate_config(
        {
            "schema_version": 1,
            "world": {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 6], "neutrality": "soft"},
            "reward": {"terms": [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 0.5}}]},
            "sampler": {"steps": 20, "batch": 32, "policy": "mean"} | sampler,
            "run": {"threads": 1, "log_every_steps": 5, "checkpoint_every_steps": 10},
        },
        "test",
    )


def folder_of(config: Config, path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[str(EXAMPLE)])
    return folder


def test_the_example_fits_its_target(tmp_path: Path) -> None:
    config = tiny(policy="transformer", policy_params={"width": 32, "heads": 2, "layers": 1}, steps=5)
    config = config.model_copy(update={"sampler": config.sampler.model_copy(update={"objective": "robust_balance"})})
    check_plugins(config, make_kernel(config))
    folder = folder_of(config, tmp_path / "run")
    train(config, folder, quiet=True)
    trained = load_run(folder)
    exact = compare_exactly(trained.kernel, trained.policy, make_scorer(trained.kernel, make_reward(config)))
    assert exact.learned.sum() == pytest.approx(1, abs=1e-9)
    assert len(exact.objects) == 55


@pytest.mark.parametrize("objective", ["trajectory_balance", "detailed_balance", "robust_balance"])
def test_a_callback_stops_and_resuming_gives_the_same_bits(tmp_path: Path, objective: str) -> None:
    config = tiny(objective=objective, backward="learned")
    whole, parts = folder_of(config, tmp_path / "whole"), folder_of(config, tmp_path / "parts")
    train(config, whole, quiet=True)
    seen: list[TrainingLine] = []

    def stop_at_ten(line: TrainingLine) -> bool:
        seen.append(line)
        return line.step == 10

    result = train(config, parts, quiet=True, callback=stop_at_ten)
    assert (result.steps, result.stopped_by, [line.step for line in seen]) == (10, "callback", [5, 10])
    assert seen[-1].metrics["n_objects"] == 320
    train(config, parts, quiet=True, resume_from=result.checkpoint)
    assert parts.metrics_path.read_bytes() == whole.metrics_path.read_bytes()
    mine, theirs = (load_run(folder).policy.state_dict() for folder in (parts, whole))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_a_callback_that_raises_leaves_a_checkpoint(tmp_path: Path) -> None:
    folder = folder_of(tiny(), tmp_path / "run")

    def fail(line: TrainingLine) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match=r"enough"):
        train(tiny(), folder, quiet=True, callback=fail)
    assert [path.name for path in list_checkpoints(folder.checkpoints)] == ["step_00000005"]


@pytest.mark.parametrize(
    ("fault", "clause"),
    [
        ("width", "self.width columns, got torch.float32 .*5"),
        ("finite", "not finite"),
        ("order", "rest of the batch"),
        ("first", "batch's order"),
        ("gradient", "not differentiable"),
    ],
)
def test_broken_policies_are_named_with_clause_and_remedy(fault: str, clause: str) -> None:
    config = tiny(policy_params={"fault": fault})
    with pytest.raises(PluginError, match=rf"policy 'mean': .*{clause}"):
        check_plugins(config, make_kernel(config))


def test_broken_objectives_are_named_with_clause_and_remedy() -> None:
    cases = {
        "its loss is nan": lambda b: b.total(b.log_pf).sum() * torch.nan,
        "expected a scalar": lambda b: b.log_pf,
        "no gradient": lambda b: b.log_reward.mean(),
        "by log_pf is missing": lambda b: b.log_z * 2,
        "batch's order": lambda b: b.log_pf[0] * 3,
    }
    for message, objective in cases.items():
        with pytest.raises(PluginError, match=rf"objective 'own': .*{message}"):
            check_objective("own", objective, np.random.default_rng(0))


def test_an_objective_that_turns_nan_stops_with_a_checkpoint(tmp_path: Path) -> None:
    @register_objective("poisoned")
    def poisoned(batch: ObjectiveBatch) -> Tensor:
        return batch.log_pf.sum() * torch.nan

    config = tiny(objective="poisoned", steps=40)
    folder = folder_of(config, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"objective 'poisoned' and policy 'mean'"):
        train(config, folder, quiet=True)
    assert list_checkpoints(folder.checkpoints)


def test_names_are_unique_known_and_take_their_parameters() -> None:
    with pytest.raises(PluginError, match=r"'mlp', which is taken"):
        register_policy("mlp")(Mean)
    with pytest.raises(PluginError, match=r"'robust_balance', which is taken"):
        register_objective("robust_balance")(lambda batch: batch.log_z)
    with pytest.raises(ConfigError, match=r"policy: expected the name of a policy, got 'men'.*--plugin"):
        tiny(policy="men")
    with pytest.raises(ConfigError, match=r"policy 'mean'.*wdth"):
        tiny(policy_params={"wdth": 3})


def test_a_run_whose_policy_is_not_loaded_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tiny(), tmp_path / "run")
    POLICIES.forget("mean")
    monkeypatch.setattr("oreflow.agent.storage.run_folder.plugin_files", lambda: [])
    with pytest.raises(ConfigError, match=r"add --plugin .*my_policy.py"):
        folder.load_config()


def test_every_verb_takes_them(tmp_path: Path) -> None:
    plugins.forget_all()
    config, run = EXAMPLE.with_suffix(".yaml"), tmp_path / "run"
    given = ("--plugin", EXAMPLE)
    listed = json.loads(done("list", "samplers", *given, "--json").stdout)
    assert "my_policy.py" in listed["policies"]["transformer"]
    assert "my_policy.py" in listed["objectives of gflownet"]["robust_balance"]
    done("check", config, *given, "-q")
    done("train", config, *given, "--out", run, "--set", "sampler.steps=4", "-q")
    done("resume", run, *given, "--set", "sampler.steps=8", "-q")
    done("sample", run, *given, "-n", 20, "-q")
    assert (run / "samples" / "candidates.csv").is_file()
    plugins.forget_all()
    for verb in (("sample", run, "-n", 3), ("exact", run), ("resume", run)):
        refused(f"add --plugin {EXAMPLE}", *verb)


@pytest.mark.slow
def test_the_example_reaches_its_target() -> None:
    figures = oreflow.exact(EXAMPLE.with_suffix(".yaml"), plugins=[EXAMPLE])
    assert figures["total_variation"] < 0.02
    assert abs(figures["log_z_error"]) < 0.02
