"""The guide in agent/README.md: its keys are keys, its example runs, its table names what there is."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from oreflow.agent.config.run import validate_config
from oreflow.agent.config.sampler import OBJECTIVES, SamplerConfig
from oreflow.agent.training.resume import CHANGEABLE
from tests.support.repository import ROOT

GUIDE = (ROOT / "agent" / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_section_of_the_guide_is_a_valid_config(text: str) -> None:
    data: dict[str, Any] = {
        "schema_version": 1,
        "world": {"elements": ["Li", "O", "P"], "n_elements": [2, 3]},
        "reward": {"terms": [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]},
    }
    asked = yaml.safe_load(text)
    config = validate_config(data | asked, "guide")
    for key, value in asked["sampler"].items():
        found = getattr(config.sampler, key)
        if isinstance(value, dict):
            found = {name: getattr(found, name) for name in value}
            value = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
        assert found == value


def test_the_table_names_every_sampler_and_objective() -> None:
    section = GUIDE.split("## Which one")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`\w+`)? ?\| ([^|]*)\|", section, flags=re.MULTILINE)
    kinds = [kind.strip("`") for kind, _ in rows if kind and kind != "`kind`"]
    named = [name for _, cell in rows for name in re.findall(r"`(\w+)`", cell) if name != "objective"]
    assert sorted(kinds) == sorted(SamplerConfig.model_fields["kind"].annotation.__args__)  # type: ignore[union-attr]
    assert sorted(named) == sorted(name for names in OBJECTIVES.values() for name in names)


def test_recipes_are_off_by_default() -> None:
    sampler = SamplerConfig()
    assert (sampler.replay.share, sampler.local_search.rounds, sampler.warm_start.path) == (0.0, 0, None)
    assert (sampler.temperature_start, sampler.temperature_end, sampler.family.kind) == (1.0, 1.0, "none")


def test_what_may_change_is_what_the_guide_says() -> None:
    sentence = re.search(r"What may change on the way: (.*?)\. A step", GUIDE, flags=re.DOTALL)
    assert sentence
    named = set(re.findall(r"`([\w.*]+)`", sentence[1]))
    assert {"run.*" if key.startswith("run.") else key for key in CHANGEABLE} == named


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = blocks("python")[0].replace("sampler.steps=200", "sampler.steps=20").replace('"runs/tiny"', '"tiny"')
    code = code.replace('"runs/configs', f'"{ROOT}/runs/configs')
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "agent/README.md", "exec"), {})
    assert 0 < float(capsys.readouterr().out.splitlines()[-1]) < 1
