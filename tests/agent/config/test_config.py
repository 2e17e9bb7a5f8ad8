"""Configs: closed, checked before any work, with the key and the nearest known one in every complaint."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from oreflow.agent.config.asynchronous import AsynchronousConfig
from oreflow.agent.config.campaign import CampaignConfig
from oreflow.agent.config.run import Config, dump_config, load_config, validate_config
from oreflow.agent.config.sections import TermConfig
from oreflow.agent.config.strict_yaml import parse_yaml
from oreflow.agent.config.world import CompositionWorld, PartConfig, WyckoffWorld
from oreflow.agent.errors import ConfigError
from tests.support.repository import ROOT

GOOD = """
schema_version: 1
world: {elements: [Li, O, Fe]}
reward:
  terms:
    - {name: charge_balance, shape: {kind: minimise, beta: 1.0}}
    - name: electronegativity_balance
      shape: {kind: verdict, log_penalty: 2.0}
"""


def load(tmp_path: Path, text: str, overrides: list[str] | None = None, seed: int | None = None) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides, seed)


def complaint(tmp_path: Path, text: str, overrides: list[str] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text, overrides)
    assert "config.yaml" in str(error.value) or "--set" in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert (config.seed, config.world.n_elements, config.sampler.steps) == (0, (2, 3), 2000)
    assert config.world.space().elements == ("Li", "O", "Fe")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + GOOD.strip()).seed == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("world: {", "world: {kind: crystal, ", "world.kind: expected the name of a world, got 'crystal'"),
        ("world: {", "world: {kind: wyckoff, gird: 24, ", "unknown key world.gird; did you mean 'grid'"),
        (
            "world: {",
            "world: {kind: wyckoff, stoichiometry: [{element: [O]}], ",
            "unknown key world.stoichiometry.0.element; did you mean 'elements'",
        ),
        (
            "world: {",
            "world: {kind: wyckoff, space_groups: [Pm3n2], ",
            "expected a space group in its standard setting, got",
        ),
        ("world: {", "world: {n_element: [2, 3], ", "unknown key world.n_element; did you mean 'n_elements'"),
        ("world:", "wrld: 1\nworld:", "unknown key wrld; did you mean 'world'"),
        ("name: electro", "nme: x\n      name: electro", "unknown key reward.terms.1.nme; did you mean 'name'"),
        ("reward:", "sampler: {learning_rat: 1}\nreward:", "did you mean 'learning_rate'"),
        ("schema_version: 1", "", "schema_version is missing"),
        ("schema_version: 1", "schema_version: 2", "schema_version"),
        ("shape: {kind: verdict, log_penalty: 2.0}", "", "reward.terms.1.shape is missing"),
        ("world: {elements: [Li, O, Fe]}", "", "world is missing"),
        ("[Li, O, Fe]", "Li", "world.elements: Input should be a valid list, got 'Li'"),
        ("[Li, O, Fe]", "[Li, 8]", "world.elements.1: Input should be a valid string, got '8'"),
        ("[Li, O, Fe]", "[Li, Fee]", "got 'Fee'; did you mean 'Fe'"),
        ("[Li, O, Fe]", "[Li, true]", "world.elements.1"),
        ("[Li, O, Fe]}", "[Li, O], n_atoms: [2]}", "world.n_atoms.1 is missing"),
        (
            "[Li, O, Fe]}",
            "[Li, O], n_atoms: [9, 2]}",
            "expected n_atoms = (low, high) with 1 <= low <= high, got (9, 2)",
        ),
        ("[Li, O, Fe]}", "[Li, O], n_atoms: [2.5, 4]}", "world.n_atoms.0"),
        ("[Li, O, Fe]}", "[Li, O], count_by_element: {Fe: [1, 2]}}", "Fe is required or has its own count range"),
        ("[Li, O, Fe]}", "[Li, O], required: [Na]}", "Na is required"),
        ("[Li, O, Fe]}", "[Li, O], neutrality: none}", "world.neutrality"),
        ("[Li, O, Fe]}", "[Li, O], oxidation_table: smact}", "did you mean 'smact14'"),
        ("reward:", "seed: -1\nreward:", "seed: Input should be greater than or equal to 0, got '-1'"),
        ("reward:", "seed: 1.5\nreward:", "seed"),
        ("reward:", "sampler: {steps: many}\nreward:", "sampler.steps"),
        ("reward:", "sampler: {steps: true}\nreward:", "sampler.steps: expected a number, got true"),
        ("reward:", "sampler: {learning_rate: true}\nreward:", "sampler.learning_rate: expected a number, got true"),
        (
            "reward:",
            "sampler: {learning_rate: .nan}\nreward:",
            "sampler.learning_rate: Input should be a finite number",
        ),
        (
            "reward:",
            "sampler: {learning_rate: .inf}\nreward:",
            "sampler.learning_rate: Input should be a finite number",
        ),
        (
            "reward:",
            "sampler: {learning_rate: 1e999}\nreward:",
            "sampler.learning_rate: Input should be a finite number",
        ),
        ("reward:", "sampler: {learning_rate: 0}\nreward:", "sampler.learning_rate: Input should be greater than 0"),
        ("reward:", "sampler: {hidden: []}\nreward:", "sampler.hidden"),
        ("reward:", "sampler: {hidden: [0]}\nreward:", "sampler.hidden.0: Input should be greater than or equal to 1"),
        ("reward:", "run: {threads: 0}\nreward:", "run.threads"),
        ("reward:", "reward:\n  beta: -1", "reward.beta"),
        ("reward:", "reward:\n  log_min: 10\n  log_max: 5", "expected reward.log_min < reward.log_max"),
        ("reward:", "reward:\n  log_max: .inf", "reward.log_max"),
        ("reward:", "reward:\n  invalid_budget: 2", "reward.invalid_budget"),
        ("schema_version: 1", "schema_version: 1\nschema_version: 1", "duplicate key 'schema_version'"),
        ("[Li, O, Fe]}", "[Li, O], order: free, order: canonical}", "duplicate key 'order'"),
        ("[Li, O, Fe]", "*elements", "aliases are not supported"),
        ("[Li, O, Fe]", "!!python/object/apply:os.system ['echo hacked']", "python/object/apply:os.system"),
        ("[Li, O, Fe]", "!!python/name:os.system", "python/name:os.system"),
        ("reward:", "purpose: 2026-13-45\nreward:", "holds an unreadable value"),
        ("reward:", "seed: " + "9" * 5000 + "\nreward:", "holds an unreadable value"),
        ("reward:", "? [a, b]\n: 1\nreward:", "unusable key"),
        ("reward:", "<<: {seed: 1}\nreward:", "no valid YAML"),
        ("reward:", "--- \nreward:", "no valid YAML"),
        ("reward:", "\treward:", "no valid YAML"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    assert message in complaint(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping at the top of"),
        ("# only a comment\n", "got NoneType"),
        ("- schema_version: 1\n", "expected a mapping at the top of"),
        ("just text", "got str"),
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "aliases are not supported"),
        ("a: &a [*a]", "aliases are not supported"),
    ],
    ids=["empty", "comment", "list", "text", "deep", "alias bomb", "cycle"],
)
def test_files_that_are_no_mapping(tmp_path: Path, text: str, message: str) -> None:
    assert message in complaint(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*absent\.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"cannot read the config .*: Is a directory"):
        load_config(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="cannot read the config"):
        load_config(binary)


def test_several_faults_are_reported_together(tmp_path: Path) -> None:
    text = GOOD.replace("reward:", "sampler: {steps: 0, bach: 1}\nreward:")
    message = complaint(tmp_path, text)
    assert "sampler.steps" in message
    assert "did you mean 'batch'" in message


def test_symbols_that_yaml_would_read_as_booleans_stay_text(tmp_path: Path) -> None:
    text = GOOD.replace("[Li, O, Fe]}", "[No, Y, N, O], count_by_element: {Y: [1, 2], N: [1, 3], No: [1, 4]}}")
    config = load(tmp_path, text.replace("world:", "purpose: NO\nworld:"))
    assert config.world.elements == ["No", "Y", "N", "O"]
    assert config.world.count_by_element == {"Y": (1, 2), "N": (1, 3), "No": (1, 4)}
    assert config.purpose == "NO"
    assert load(tmp_path, GOOD, ["world.elements=[N, Y, No]"]).world.space().elements == ("N", "Y", "No")
    again = load(tmp_path, dump_config(config))
    assert again == config


def test_count_ranges_may_name_a_preset(tmp_path: Path) -> None:
    text = GOOD.replace("[Li, O, Fe]}", "[Li, chalcogens], count_by_element: {chalcogens: [1, 2], O: [3, 4]}}")
    assert load(tmp_path, text).world.space().count_by_element == {"O": (3, 4), "S": (1, 2), "Se": (1, 2), "Te": (1, 2)}
    assert "did you mean 'chalcogens'" in complaint(tmp_path, text.replace("{chalcogens:", "{chalcogen:"))


def test_booleans_and_numbers_are_read_as_such(tmp_path: Path) -> None:
    text = GOOD.replace("[Li, O, Fe]}", "[Li, O], mixed_valence: true}").replace("beta: 1.0", "beta: 1e-2")
    config = load(tmp_path, text + "sampler: {learning_rate: 1e-3}\n")
    assert config.world.mixed_valence is True
    assert config.sampler.learning_rate == 1e-3
    assert config.reward.terms[0].shape["beta"] == 0.01


def test_overrides(tmp_path: Path) -> None:
    overrides = ["sampler.steps=7", "world.elements=[Li, O]", "reward.terms.1.shape.log_penalty=3", "run.threads = 1"]
    config = load(tmp_path, GOOD, [*overrides, "purpose=a=b, c"], seed=5)
    assert config.sampler.steps == 7
    assert config.world.elements == ["Li", "O"]
    assert config.reward.terms[1].shape == {"kind": "verdict", "log_penalty": 3}
    assert (config.run.threads, config.purpose, config.seed) == (1, "a=b, c", 5)
    assert load(tmp_path, GOOD, ["seed=4"], seed=5).seed == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampler.steps", "expected --set a.b=value, got 'sampler.steps'"),
        ("=3", "expected --set a.b=value, got '=3'"),
        ("sampler..steps=3", "expected --set a.b=value"),
        ("sampler.stepz=3", "unknown key sampler.stepz; did you mean 'steps'"),
        ("sampler.steps=[", "--set sampler.steps is no valid YAML"),
        ("sampler.steps=0", "sampler.steps"),
        ("reward.terms.2.name=x", "--set reward.terms.2.name: expected an index below 2, got '2'"),
        ("reward.terms.-1.name=x", "expected an index below 2, got '-1'"),
        ("reward.terms.first.name=x", "expected an index below 2, got 'first'"),
        ("schema_version.x=1", "schema_version holds a value, not a section"),
        ("world.elements=!!python/name:os.system", "python/name:os.system"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, message: str) -> None:
    assert message in complaint(tmp_path, GOOD, [override])


def test_soft_neutrality_needs_a_term_that_pays_for_it(tmp_path: Path) -> None:
    soft = GOOD.replace("[Li, O, Fe]}", "[Li, O, Fe], neutrality: soft}")
    assert load(tmp_path, soft).world.neutrality == "soft"
    assert "reward.terms must hold charge_balance" in complaint(
        tmp_path, soft.replace("charge_balance", "formation_energy")
    )


def test_dump_reads_back_equal(tmp_path: Path) -> None:
    config = load(
        tmp_path, GOOD, ["sampler.learning_rate=1e-5", "world.count_by_element={O: [1, 9]}", "seed=123456789012"]
    )
    text = dump_config(config)
    assert load(tmp_path, text) == config
    assert dump_config(load(tmp_path, text)) == text
    assert yaml.safe_load(text)["sampler"]["batch"] == 256  # defaults are written out


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.floats(1e-12, 1e12),
    st.dictionaries(st.sampled_from(["N", "Y", "No", "O"]), st.just((1, 3)), max_size=3),
)
def test_dump_reads_back_equal_for_any_text_and_number(purpose: str, rate: float, counts: dict[str, Any]) -> None:
    data = yaml.safe_load(GOOD) | {"purpose": purpose}
    data |= {
        "world": {"elements": ["N", "Y", "No", "O"], "count_by_element": counts},
        "sampler": {"learning_rate": rate},
    }
    config = validate_config(data, "test")
    again = validate_config(parse_yaml(dump_config(config), "test"), "test")
    assert again == config
    assert math.isclose(again.sampler.learning_rate, rate, rel_tol=0.0)


@pytest.mark.parametrize("path", sorted((ROOT / "runs" / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_tracked_configs_load_and_say_what_they_are_for(path: Path) -> None:
    config = load_config(path)
    assert len(config.purpose) > 30
    assert "expect" in config.purpose


def test_every_field_has_a_line_of_prose() -> None:
    models: list[type] = [Config, TermConfig, AsynchronousConfig, CompositionWorld, WyckoffWorld, PartConfig]
    models.append(CampaignConfig)
    for model in models:
        for name, field in model.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                models.append(inner)
            else:
                assert field.description, f"{model.__name__}.{name}"
    assert len(models) == 17
