"""`oreflow fit`: a property by its name, and what `score`, `check`, `train` and `sample` then call it."""

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.support.cli import done, refused

SMALL = ("--members", 1, "--epochs", 2)
METALS, ANIONS = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Zn"), ("F", "Cl", "Br", "O", "S")


def write_gaps(folder: Path, header: str = "formula,gap") -> Path:
    rows = [f"{m}{i}{x}{j},{i + 0.5 * j}" for m in METALS for x in ANIONS for i in (1, 2) for j in (1, 3)]
    path = folder / "gaps.csv"
    path.write_text("\n".join([header, *rows, "NaN,nan", "MgF,", 'GaAs,"1,4"', ""]))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    options = ("--property", "Band gap", "--column", "gap", "--unit", "eV", *SMALL)
    done("fit", write_gaps(folder), "--out", folder / "model", *options, "--quiet")
    return folder / "model"


def test_the_command_of_the_card_gives_the_same_weights(model: Path, tmp_path: Path) -> None:
    card = json.loads((model / "model.json").read_text(encoding="utf-8"))
    assert card["target"]["name"] == "Band gap"
    assert card["command"].startswith("oreflow fit gaps.csv --out model ")
    words = shlex.split(card["command"].replace("\\\n", " "))[2:]
    again = [write_gaps(tmp_path) if w == "gaps.csv" else tmp_path / "b" if w == "model" else w for w in words]
    text = done("fit", *again).stdout
    assert f"SHA-256 {card['weights_sha256']}" in text
    assert "model of Band gap written to" in text
    assert "rows that cannot be used  3" in text
    assert "line 162: 'nan' is not a finite number" in text
    assert "by the nearest formula" in text
    assert " eV, R2 " in text


def test_fit_energy_is_the_same_fit(tmp_path: Path) -> None:
    table = write_gaps(tmp_path, "formula,formation_energy_per_atom")
    named = ("--property", "formation_energy_per_atom", *SMALL, "--json")
    one = json.loads(done("fit", table, "--out", tmp_path / "a", *named).stdout)
    other = json.loads(done("fit-energy", table, "--out", tmp_path / "b", *SMALL, "--json").stdout)
    assert one["weights_sha256"] == other["weights_sha256"]
    assert one["target"] == other["target"]
    assert one["command"].split()[1] == "fit"


def test_a_quick_fit_says_so(tmp_path: Path) -> None:
    options = ("--property", "gap", "--unit", "1", "--quick", *SMALL)
    text = done("fit", write_gaps(tmp_path), *options, "--out", tmp_path / "q").stdout
    assert "model of gap, a quick fit, written to" in text
    assert "cut the rest short" not in text
    card = json.loads((tmp_path / "q" / "model.json").read_text(encoding="utf-8"))
    assert card["target"]["unit"] == ""
    late = (*options[:-1], 2000, "--max-minutes", 0.05)
    text = done("fit", write_gaps(tmp_path), *late, "--out", tmp_path / "late").stdout
    assert "the time limit cut the rest short: --max-minutes" in text
    assert "--quick" in card["command"]
    assert "--column" not in card["command"]  # it is the one of the property's name
    scored = ("--reward", "predicted_property", "--param", f"predicted_property.model={tmp_path / 'q'}", "--json")
    assert "gap" in json.loads(done("score", "NaCl", *scored).stdout)[0]


def test_score_names_the_property_and_its_unit(model: Path) -> None:
    options = ("--reward", "predicted_property", "--param", f"predicted_property.model={model}", "--json")
    rows = json.loads(done("score", "NaCl", "FeO", *options).stdout)
    columns = {"band_gap_ev", "band_gap_std", "band_gap_distance", "band_gap_extrapolates"}
    assert columns <= set(rows[0])
    assert rows[0]["band_gap_ev"] is not None
    assert rows[1]["band_gap_ev"] is None
    assert rows[1]["note"].startswith("band_gap: Fe outside the 13 elements of the Band gap model")


def config_of(model: Path, **changes: object) -> str:
    term = {"name": "predicted_property", "params": {"model": str(model)}}
    term |= {"shape": {"kind": "above", "threshold": 1.0, "width": 0.5}, **changes}
    data = {
        "schema_version": 1,
        "world": {"elements": ["Li", "Na", "Mg", "O", "F", "Cl"], "n_elements": [2, 2], "n_atoms": [2, 6]},
        "reward": {"terms": [term, {"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]},
        "sampler": {"steps": 2, "batch": 8},
        "run": {"threads": 1},
    }
    return yaml.safe_dump(data)


def test_check_train_and_sample_name_it_too(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "gaps.yaml"
    path.write_text(config_of(model))
    text = done("check", path).stdout
    assert "reward     band_gap: median" in text
    assert "an object" in next(line for line in text.splitlines() if "band_gap" in line)  # what it costs
    assert json.loads(done("score", "NaCl", "--config", path, "--json").stdout)[0]["band_gap_ev"] is not None
    done("train", path, "--out", tmp_path / "run")
    resolved = yaml.safe_load((tmp_path / "run" / "config.resolved.yaml").read_text())
    assert [term["label"] for term in resolved["reward"]["terms"]] == ["band_gap", None]
    text = done("sample", tmp_path / "run", "-n", 5).stdout
    assert any(line.startswith("band gap ") and "at least 1 eV" in line for line in text.splitlines())
    frame = pd.read_parquet(tmp_path / "run" / "samples" / "candidates.parquet")
    assert {"band_gap_ev", "band_gap_valid", "band_gap_log_score", "band_gap_std"} <= set(frame.columns)


def test_a_label_stands_and_a_name_that_is_taken_is_not_given(model: Path) -> None:
    from oreflow.agent.config.run import validate_config
    from oreflow.agent.training.property_names import name_properties

    def labels(text: str) -> list[str | None]:
        return [term.label for term in name_properties(validate_config(yaml.safe_load(text), "test")).reward.terms]

    assert labels(config_of(model)) == ["band_gap", None]
    assert labels(config_of(model, label="mine")) == ["mine", None]
    taken = config_of(model).replace("name: formation_energy", "label: band_gap\n    name: formation_energy")
    assert labels(taken) == [None, "band_gap"]
    assert labels(config_of(model / "absent")) == [None, None]  # said when the reward is built


def test_bad_input(model: Path, tmp_path: Path) -> None:
    table, out = write_gaps(tmp_path), ("--out", tmp_path / "x")
    refused("expected the unit of 'gap', got none; add --unit", "fit", table, "--property", "gap", *out)
    refused("expected a column 'gapp'", "fit", table, "--property", "gapp", "--unit", "eV", *out)
    text = tmp_path / "text.csv"
    text.write_text("formula,gap\n" + "NaCl,wide\n" * 80)
    refused("line 2: 'wide' is not a number", "fit", text, "--property", "gap", "--unit", "eV", *out)
    few = tmp_path / "few.csv"
    few.write_text("formula,gap\nNaCl,5\nKCl,nan\n")
    refused("at least 60 usable formulas", "fit", few, "--property", "gap", "--unit", "eV", *out)
    assert not (tmp_path / "x").exists()
    scored = ("score", "NaCl", "--reward", "predicted_property", "--param")
    refused("use it with the reward 'crystal_formation_energy'", *scored, "predicted_property.model=crystal_energy_v1")
    refused("got 'absent'; known: crystal_energy_v1", *scored, "predicted_property.model=absent")
    use = ("--param", f"formation_energy.model={model}")
    refused("got one of 'Band gap'", "score", "NaCl", "--reward", "formation_energy", *use)
