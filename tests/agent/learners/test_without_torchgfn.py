"""Without torchgfn, one sentence says what to install."""

import importlib.util
from pathlib import Path

import pytest

from oreflow.agent.errors import ConfigError
from oreflow.agent.training.build import make_kernel, make_learner
from tests.agent.training.test_training import tiny
from tests.support.cli import CONFIG, refused


def test_without_torchgfn_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "gfn" else find(name, *rest))
    config = tiny(engine="torchgfn")
    with pytest.raises(ConfigError, match=r"torchgfn is not installed; pip install oreflow\[torchgfn\]"):
        make_learner(config, make_kernel(config))
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    for verb in (["train", path, "--out", tmp_path / "run"], ["check", path]):
        refused("pip install oreflow[torchgfn]", *verb, "--set", "sampler.engine=torchgfn", code=2)
    assert not (tmp_path / "run").exists()
