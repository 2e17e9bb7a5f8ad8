"""Tables of the user's own: every way to give one means the same, and a run outlives the file of its table."""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from oreflow.agent.config.run import dump_config, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.evaluation.scoring import score_formulas
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.envs.chemistry.built_in_oxidation import TABLES
from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.chemistry.oxidation import oxidation_matrix, oxidation_states, resolve_table
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.errors import EmptyWorldError, OxidationTableError, UnknownOxidationTableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance
from oreflow.rewards.terms.composition.smact_validity import SmactValidity
from tests.support.cli import done, refused
from tests.support.oracle import all_objects

MINE = {"Na": [1], "Fe": [3, 2], "No": [2], "Y": [3], "N": [-3], "O": [-2, -1]}
FILES = {
    "mine.csv": "symbol,oxidation_states\nNa,1\nFe,3 2\nNo,+2\nY,3\nN,-3\nO,-2 -1\nHe,\n",
    "MINE.CSV": "\ufeffsymbol ,note, oxidation_states\r\nNa,,1\r\nFe,x,2 3 3\r\nNo,,2\r\nY,,3\r\nN,,-3\r\nO,,-1 -2\r\n",
    "mine.json": json.dumps(MINE),
    "named.json": json.dumps({"states": MINE, "name": "textbook"}),
    "mine.yaml": "Na: [1]\nFe: [2, 3]\nNo: [2]\nY: [+3]\nN: [-3]\nO:\n  - -2\n  - -1\n",
    "named.yml": "name: textbook\nstates: {Na: [1], Fe: [2, 3], No: [2], Y: [3], N: [-3], O: [-2, -1]}\n",
    "mine.txt": "# SMACT's format\nHe\nNa +1\nFe +2 +3\n\nNo 2\nY 3\nN -3\nO -1 -2\n",
}
STATES = {atomic_number(symbol): tuple(sorted(states)) for symbol, states in MINE.items()}


@pytest.mark.parametrize("name", FILES)
def test_every_file_format_means_the_mapping(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name], encoding="utf-8", newline="")
    table = resolve_table(str(path))
    assert oxidation_states(table) == oxidation_states(path) == oxidation_states(MINE) == STATES
    assert table.name == ("textbook" if "named" in name else path.stem)
    assert table.version == resolve_table(MINE).version
    assert resolve_table(table.spec()) == table == resolve_table(table)


def test_a_path_relative_to_the_working_directory_needs_no_suffix_of_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text(FILES["mine.csv"])
    assert resolve_table("mine.csv").label == f"mine@{resolve_table(MINE).version}"


def test_labels_tell_a_users_table_from_a_built_in_one_of_the_same_name() -> None:
    for name in TABLES:
        table = resolve_table(name)
        assert (table.label, str(table), table.spec()) == (name, name, name)
    mine = resolve_table({"name": "smact14", "states": MINE})
    assert mine.label.startswith("smact14@")
    assert resolve_table(mine.spec()) == mine != resolve_table("smact14")
    digest = hashlib.sha256(b'[["O", -2, -1]]').hexdigest()
    assert resolve_table({"name": "pymatgen_all", "states": {"O": [-1, -2]}}).label == f"pymatgen_all@{digest[:8]}"


def test_built_in_tables_state_their_release() -> None:
    assert f"SMACT {version('smact')}" in {table.version for table in TABLES.values()}
    assert all(table.version.split()[0] in ("pymatgen", "SMACT") for table in TABLES.values())
    listed = json.loads(done("list", "envs", "--json").stdout)
    assert "[SMACT 4.0.2]" in listed["oxidation-state tables"]["smact14"]


mappings = st.dictionaries(
    st.sampled_from(symbols()[1:]), st.lists(st.integers(-5, 9), max_size=6), min_size=1, max_size=12
).filter(lambda mapping: any(mapping.values()))


@given(mappings, st.randoms())
def test_a_table_is_its_content(mapping: dict[str, list[int]], random: Any) -> None:
    """Order and repetition of states, and order of elements, do not matter; anything else changes the version."""
    table = resolve_table(mapping)
    assert oxidation_states(table) == {atomic_number(e): tuple(sorted(set(s))) for e, s in mapping.items() if s}
    items = [(symbol, random.sample(states, len(states)) * 2) for symbol, states in mapping.items()]
    random.shuffle(items)
    assert resolve_table(dict(items)) == table
    assert resolve_table(json.loads(json.dumps(table.spec()))) == table
    states, n_states = oxidation_matrix(table)
    assert {z: tuple(states[z, : n_states[z]].tolist()) for z in np.flatnonzero(n_states)} == dict(table.states)
    symbol = next(symbol for symbol, own in mapping.items() if own)
    assert resolve_table(mapping | {symbol: []} | {"H": [9, -5, 0]}).version != table.version


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"Xx": [1]}, "expected an element symbol such as 'Fe', got 'Xx'"),
        ({"fe": [2]}, "got 'fe'; did you mean 'Fe'"),
        ({True: [1]}, "got True"),
        ({"Fe": [2.5]}, "expected oxidation states of Fe as whole numbers, got 2.5; mean states such as 8/3 come from"),
        ({"Fe": [2.0]}, "expected oxidation states of Fe as whole numbers, got 2.0"),
        ({"Fe": [True]}, "expected oxidation states of Fe as whole numbers, got True"),
        ({"Fe": ["II"]}, "expected oxidation states of Fe as whole numbers, got 'II'"),
        ({"Fe": [None]}, "got None"),
        ({"Fe": 2}, "expected a list of states of Fe, got 2; write [1, 2]"),
        ({"Fe": "2 3"}, "expected a list of states of Fe, got '2 3'"),
        ({"Fe": [10]}, "expected oxidation states from -5 to 9, got 10 of Fe"),
        ({"Fe": [-6]}, "expected oxidation states from -5 to 9, got -6 of Fe"),
        ({"Fe": [10**30]}, "expected oxidation states from -5 to 9"),
        ({}, "expected at least one element with an oxidation state, got none"),
        ({"He": []}, "expected at least one element with an oxidation state, got none"),
        ({"states": [1]}, "expected 'states' to map symbols to lists, got [1]"),
        ({"states": MINE, "name": 3}, "expected a name in text, got 3"),
        ({"states": MINE, "name": " "}, "expected a name in text, got ' '"),
        ({"states": MINE, "Fe": [2]}, "expected the keys 'name' and 'states', got 'Fe'"),
        (
            None,
            "expected an oxidation-state table as a name, a file or a mapping such as {Na: [1], Cl: [-1]}, got None",
        ),
        (14, "got 14"),
    ],
    ids=str,
)
def test_bad_mappings_are_refused(spec: Any, message: str) -> None:
    with pytest.raises(OxidationTableError) as error:
        resolve_table(spec)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "symbol,states\nFe,2\n", "found no 'oxidation_states' among ['symbol', 'states']"),
        ("t.csv", "", "found no 'symbol' among []"),
        ("t.csv", "symbol,oxidation_states\n", "at least one element with an oxidation state, got none"),
        ("t.csv", "symbol,oxidation_states\nFe,2\nFe,3\n", "expected each element once, got 'Fe' twice; merge"),
        ("t.csv", "symbol,oxidation_states\nFe,2,3\n", "separated by spaces, got further cells in line 2"),
        ("t.csv", "symbol,oxidation_states\nFe,2.5\n", "of Fe as whole numbers, got '2.5'"),
        ("t.csv", "symbol,oxidation_states\nFe,2;3\n", "of Fe as whole numbers, got '2;3'"),
        ("t.csv", "symbol,oxidation_states\n,2\n", "got ''"),
        ("t.json", '{"Fe": [2], "Fe": [3]}', "expected each element once, got 'Fe' twice"),
        ("t.json", '{"Fe": [2]', "is no valid JSON"),
        ("t.json", "[" * 100_000, "is no valid JSON"),
        ("t.json", "[1, 2]", "expected a mapping of symbols to lists of states, got list"),
        ("t.json", '{"Fe": [2.0]}', "whole numbers, got 2.0"),
        ("t.yaml", "Fe: [2]\nFe: [3]\n", "expected each element once, got 'Fe' twice"),
        ("t.yaml", "Fe: [2", "is no valid YAML"),
        ("t.yaml", "[Fe]: 2\n? [a]\n: 1", "is no valid YAML"),
        ("t.yaml", "", "expected a mapping of symbols to lists of states, got NoneType"),
        ("t.yaml", "Fe: 2\n", "expected a list of states of Fe, got '2'"),
        ("t.yaml", "Fe: [!!python/object/apply:os.getcwd []]\n", "whole numbers"),
        ("t.txt", "Fe +2\nFe +3\n", "got 'Fe' twice"),
        ("t.txt", "Fe +2 x\n", "got 'x'"),
        ("t.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
    ],
    ids=str,
)
def test_bad_files_are_refused_by_name(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(OxidationTableError) as error:
        resolve_table(path)
    assert message in str(error.value)
    assert name in str(error.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(OxidationTableError, match=r"no file at .*smact15\.csv .*did you mean 'smact14'"):
        resolve_table(str(tmp_path / "smact15.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OxidationTableError, match="cannot read"):
        resolve_table(tmp_path / "folder.csv")
    (tmp_path / "latin.csv").write_bytes(b"symbol,oxidation_states\nFe,2 \xe9\n")
    with pytest.raises(OxidationTableError, match="cannot read"):
        resolve_table(tmp_path / "latin.csv")
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(OxidationTableError, match=r"of type \.csv, \.json, \.yaml, \.yml, \.txt, got "):
        resolve_table(tmp_path / "table.xlsx")
    with pytest.raises(UnknownOxidationTableError, match=r"one of your own is given as a file or a mapping"):
        resolve_table("mine@1234abcd")


@pytest.mark.parametrize("term", [ChargeBalance, ElectronegativityBalance, SmactValidity])
def test_terms_take_the_users_table(term: Callable[..., Any]) -> None:
    batch = Compositions.from_dicts([{26: 2, 8: 3}, {26: 3, 8: 4}, {11: 2, 8: 2}, {12: 1, 8: 1}])
    mine = term(table=MINE)
    assert mine.table.label.startswith("custom@")
    result = mine(batch)
    assert (result.values == (0 if term is ChargeBalance else 1)).tolist()[:3] == [True, False, True]
    if term is not SmactValidity:
        assert result.reasons == {3: f"no oxidation state of Mg in {mine.table.label}"}


def test_a_world_is_neutral_by_the_users_table() -> None:
    """Against exhaustive search; peroxides exist here, as oxygen has the state -1."""
    space = CompositionSpace(elements=("Na", "Fe", "O"), n_atoms=(2, 6), count=(1, 4), oxidation_table=MINE)
    world = CompositionKernel(space).enumerate()
    found = {
        tuple((symbol, count) for symbol, count in zip(space.elements, row) if count)
        for row in world.states[world.can_stop][:, :-1].tolist()
    }
    assert found == {tuple(sorted(f, key=lambda pair: atomic_number(pair[0]))) for f in all_objects(space)}
    assert (("O", 1), ("Na", 1)) in found  # a peroxide
    with pytest.raises(EmptyWorldError, match="has no oxidation state in the table 'custom@"):
        CompositionKernel(CompositionSpace(elements=("Na", "Mg", "O"), required=("Mg",), oxidation_table=MINE))


def config_data(world_table: Any, term_table: Any = None) -> dict[str, Any]:
    params = {} if term_table is None else {"table": term_table}
    return {
        "schema_version": 1,
        "world": {"elements": ["Li", "Na", "Fe", "O"], "n_atoms": [2, 8], "oxidation_table": world_table},
        "reward": {
            "terms": [
                {"name": "charge_balance", "params": params, "shape": {"kind": "minimise", "beta": 1.0}},
                {"name": "smact_validity", "shape": {"kind": "verdict", "log_penalty": 1.0}},
            ]
        },
    }


def test_the_resolved_config_holds_the_table_not_the_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(FILES["mine.csv"])
    config = validate_config(config_data(str(path), str(path)), "here")
    text = dump_config(config)
    path.unlink()
    assert str(tmp_path) not in text
    again = validate_config(yaml.safe_load(text), "there")
    assert again == config
    assert resolve_table(again.world.oxidation_table).label == f"mine@{resolve_table(MINE).version}"
    assert again.reward.terms[0].params["table"] == again.world.oxidation_table
    assert again.world.space().oxidation_table == resolve_table({"name": "mine", "states": MINE})
    assert validate_config(config_data("smact14"), "here").world.oxidation_table == "smact14"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (("absent.csv",), "world.oxidation_table: expected an oxidation-state table, found no file at absent.csv"),
        (({"Fe": [2], "Xx": [1]},), "world.oxidation_table: the oxidation-state table: expected an element symbol"),
        ((3,), "world.oxidation_table: expected an oxidation-state table as a name"),
        (
            ("smact14", "smact15"),
            "reward.terms.0 (charge_balance): table: expected the name of an oxidation-state table",
        ),
    ],
)
def test_config_errors_name_the_key(tables: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        validate_config(config_data(*tables), "here")
    assert message in str(error.value)


def test_score_by_a_file(tmp_path: Path) -> None:
    path = tmp_path / "peroxide.csv"
    path.write_text("symbol,oxidation_states\nBa,2\nO,-1\n")
    rows = json.loads(done("score", "BaO2", "BaO", "NaCl", "--oxidation-table", path, "--json").stdout)
    label = resolve_table(path).label
    assert [row["charge_neutral"] for row in rows] == [True, False, None]
    assert {row["oxidation_table"] for row in rows} == {label}
    assert rows[0]["oxidation_states"] == "1 Ba2+; 2 O-"
    assert f"no oxidation state of Na, Cl in {label}" in rows[2]["note"]
    assert score_formulas(["BaO2"], ["smact_validity"], table=path)["smact_validity_verdict"].tolist() == [1]
    assert score_formulas(["BaO2"], ["smact_validity"])["smact_validity_verdict"].tolist() == [1]
    assert score_formulas(["NaCl2"], ["smact_validity"], table="pymatgen_common")["smact_validity_verdict"][0] == 0


def test_a_run_keeps_the_users_table_for_sampling_and_evaluation(tmp_path: Path) -> None:
    path, run = tmp_path / "mine.csv", tmp_path / "run"
    path.write_text(FILES["mine.csv"] + "Li,1\n")
    data = config_data(str(path)) | {"sampler": {"steps": 5, "batch": 16, "hidden": [8]}, "run": {"threads": 1}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(data))
    label = resolve_table(path).label
    done("train", tmp_path / "config.yaml", "--out", run, "-q")
    path.unlink()
    summary = json.loads(done("sample", run, "-n", 20, "--json", "-q").stdout)
    assert (summary["share_neutral"], summary["neutrality_rule"]) == (1.0, f"{label}, no mixed valence")
    candidates = RunFolder(run).samples / "candidates.csv"
    assert set(pd.read_parquet(candidates.with_suffix(".parquet"))["oxidation_table"]) == {label}
    metrics = json.loads(done("evaluate", candidates, "--json", "-q").stdout)
    assert (metrics["share_neutral"], metrics["neutrality_rule"]) == (1.0, f"{label}, no mixed valence")
    # Elsewhere the table is not at hand, and judging by another one in silence would mislead.
    (tmp_path / "elsewhere.csv").write_bytes(candidates.read_bytes())
    alone = done("evaluate", tmp_path / "elsewhere.csv", "--json", "-q")
    assert "neutrality by pymatgen_common; " in alone.stderr
    (tmp_path / "elsewhere.parquet").write_bytes(candidates.with_suffix(".parquet").read_bytes())
    refused(f"was judged by the oxidation-state table {label}", "evaluate", tmp_path / "elsewhere.csv")
    assert done("evaluate", tmp_path / "elsewhere.csv", "--oxidation-table", "smact14", "--json", "-q").exit_code == 0
