"""What `oreflow campaign` refuses, each with a sentence; and the command itself, with real workers."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from oreflow.agent.config.campaign import CampaignConfig, dump_campaign, load_campaign
from oreflow.agent.errors import ConfigError
from tests.agent.campaigns.worlds import RUN, settings, table
from tests.support.campaign_fakes import ELEMENTS, PLUGIN, REFERENCES
from tests.support.cli import CONFIG, done, oreflow, refused
from tests.support.repository import ROOT


def written(folder: Path, **changed: Any) -> Path:
    path = folder / "campaign.yaml"
    data = settings(folder) | {"potential": "chgnet"} | changed
    data = {key: value for key, value in data.items() if value != "gone"}
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"round": 3}, "unknown key round; did you mean 'rounds'"),
        ({"rounds": 0}, "rounds: Input should be greater than or equal to 1, got '0'"),
        ({"relaxations": True}, "relaxations: expected a number, got true"),
        ({"explore": 1.5}, "explore: Input should be less than or equal to 1, got '1.5'"),
        ({"schema_version": "gone"}, "schema_version is missing"),
        ({"run": "gone"}, "expected one of run (a trained run folder, or a config) and train"),
        ({"train": {"a": 1}}, "got both"),
        ({"run": "gone", "train": {"schema_version": 1}}, "campaign.yaml: train: world is missing"),
        ({"threshold": 0.6}, "expected failed_ev_per_atom above threshold, so that what fell apart is not stable"),
        ({"calibration": "neural"}, "calibration: Input should be 'gaussian_process' or 'none', got 'neural'"),
    ],
)
def test_faults_of_a_config_are_named(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load_campaign(written(tmp_path, **changed))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_reads_back_equal(tmp_path: Path) -> None:
    config = load_campaign(written(tmp_path, novelty="known.csv", minutes=2.5), ["draws=7"], seed=5)
    assert (config.draws, config.seed) == (7, 5)
    again = tmp_path / "again.yaml"
    again.write_text(dump_campaign(config), encoding="utf-8")
    assert load_campaign(again) == config


@pytest.mark.parametrize("path", sorted((ROOT / "runs" / "campaigns").glob("*.yaml")), ids=lambda p: p.name)
def test_tracked_campaigns_load_and_say_what_they_are_for(path: Path) -> None:
    config = load_campaign(path)
    assert "expect" in config.purpose
    assert (ROOT / str(config.run)).is_file()


def test_bad_input_ends_with_a_sentence_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for changed, message in (
        ({"run": str(tmp_path / "absent")}, "run: expected a file or folder, found nothing at"),
        ({"novelty": "absent.csv"}, "novelty: expected a file or folder, found nothing at absent.csv"),
        ({"hull": "absent.csv"}, "hull: expected a file or folder, found nothing at absent.csv"),
    ):
        refused(message, "campaign", written(tmp_path, **changed), "--out", out)
    config = written(tmp_path)
    refused(
        "expected the name of a potential, got 'chgnett'",
        "campaign",
        config,
        "--out",
        out,
        "--set",
        "potential=chgnett",
    )
    (tmp_path / "formulas.yaml").write_text(CONFIG)
    done("train", tmp_path / "formulas.yaml", "--out", tmp_path / "formulas", "--quiet")
    change = ("--set", f"run={tmp_path / 'formulas'}")
    refused("expected a run that draws crystals (world.kind wyckoff), got", "campaign", config, "--out", out, *change)
    assert not (out / "campaign.yaml").exists()
    (tmp_path / "metal.py").write_text(PLUGIN.format(elements=ELEMENTS, references=None))
    refused(
        "potential: expected one with reference energies of the elements",
        *("campaign", config, "--out", out, "--plugin", tmp_path / "metal.py", "--set", "potential=emt_of_campaigns"),
    )


@pytest.mark.slow
def test_the_command_trains_relaxes_with_a_plugin_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "references.csv").write_text(REFERENCES)
    plugin = tmp_path / "metal.py"
    plugin.write_text(PLUGIN.format(elements=ELEMENTS, references=str(tmp_path / "references.csv")))
    config = written(tmp_path, run="gone", train=yaml.safe_load(RUN), relaxations=2, draws=20)
    words = ("--out", tmp_path / "out", "--plugin", plugin, "--set", "potential=emt_of_campaigns", "--workers", "1")
    first = done("campaign", config, *words, "--set", "rounds=1", "--json", "--quiet")
    assert json.loads(first.stdout)["n_referee_calls"] == 2
    second = done("campaign", config, *words)
    assert "round 2/2: 20 drawn, 2 picked (0 to explore), 2 relaxed" in second.stdout
    assert "round 1/2" not in second.stdout
    assert "referee calls              4 of 4" in second.stdout
    assert "rounds played before       1" in second.stdout
    frame = table(tmp_path / "out")
    assert set(frame["status"]) <= {"converged", "not_converged"}
    assert len(frame) == 4
    assert "holds a campaign with draws 20 (now 21)" in oreflow("campaign", config, *words, "--set", "draws=21").output


def test_every_key_is_described_in_the_readme() -> None:
    text = (ROOT / "agent" / "README.md").read_text(encoding="utf-8").partition("## Campaigns")[2]
    keys = text.partition("| key |")[2].partition("The referee's energy")[0]
    for name in set(CampaignConfig.model_fields) - {"schema_version", "purpose", "seed"}:
        assert name in keys, name
