"""What a reward may do wrong, injected: each fault costs what it must and nothing else, and is named."""

import json
import os
import random
import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards import registry
from oreflow.rewards.check import check_reward_term, check_shaped
from oreflow.rewards.composite import Reward, make_shape
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.errors import PluginError, RewardContractError, RewardWarning
from tests.rewards.test_composite import Stub

BATCH = parse_formulas(["NaCl", "Fe2O3", "H2O", "TiO2"])[0]
N = len(BATCH)


def ones(batch: Compositions) -> TermValues:
    return TermValues(np.ones(len(batch)), np.ones(len(batch), dtype=np.bool_))


def test_numbers_beyond_range_are_invalid_never_low() -> None:
    """R1, R2: NaN, infinities and what float64 cannot hold."""
    values = np.array([np.nan, np.inf, -np.inf, 1.0], dtype=np.longdouble)
    values[1] = np.longdouble("1e4000")
    result = Reward([(Stub(TermValues(values, np.ones(N, dtype=np.bool_))), make_shape("maximise", {"beta": 1.0}))])(
        BATCH
    )
    assert result.valid.tolist() == [False, False, False, True]
    assert np.isnan(result.log_reward[:3]).all()
    assert [result.reasons()[row] for row in range(3)] == ["stub: value nan", "stub: value inf", "stub: value -inf"]


def test_bounds_of_log_reward_are_counted_where_they_cut() -> None:
    """R2, R3: large values meet the ceiling and zero rewards the floor, both configured, and it is said where."""
    values = np.array([0.0, 1e300, 2.0, -1.0])
    term = Stub(function=lambda batch: TermValues(values[: len(batch)], np.ones(len(batch), dtype=np.bool_)))
    reward = Reward([(term, make_shape("logarithm", {"exponent": 1.0}))], log_min=-5.0, log_max=5.0)
    result = reward(BATCH)
    assert result.log_reward[:3].tolist() == [-5.0, 5.0, np.log(2.0)]
    assert result.bounded.tolist() == [True, True, False, False]
    assert result.valid.tolist() == [True, True, True, False]
    with pytest.raises(RewardContractError, match="stub: the value -1 of O2Ti has no log-score; expected values of 0"):
        check_shaped(reward, BATCH)
    check_shaped(reward, BATCH[:3])


def test_exit_is_an_exception_like_any_other() -> None:
    def leaves(batch: Compositions) -> TermValues:
        if "ClNa" in batch.formulas():
            sys.exit("no salt")
        return ones(batch)

    result = evaluate_term(Stub(function=leaves), BATCH)
    assert result.valid.tolist() == [False, True, True, True]
    assert result.reasons == {0: "SystemExit: no salt"}
    with pytest.raises(RewardContractError, match="raises SystemExit: no salt; set valid to False"):
        check_reward_term(Stub(function=leaves), BATCH)


def test_a_traceback_is_saved_once_a_fault(tmp_path: Path) -> None:
    """R5."""

    def raises(batch: Compositions) -> TermValues:
        for formula, atoms in zip(batch.formulas(), batch.n_atoms.tolist()):
            if "O" in formula:
                raise ValueError(f"cannot do {formula}")
            if atoms == 2:
                raise KeyError(formula)
        return ones(batch)

    reward = Reward([(Stub(function=raises), make_shape("maximise", {"beta": 1.0}))])
    failures = RewardFailures(tmp_path / "reward_failures.jsonl")
    for _ in range(3):
        failures.record(BATCH, reward(BATCH))
    lines = [json.loads(line) for line in failures.path.read_text().splitlines()]
    assert [(line["reward"], line["formula"], line["reason"]) for line in lines] == [
        ("stub", "ClNa", "KeyError: 'ClNa'"),
        ("stub", "Fe2O3", "ValueError: cannot do Fe2O3"),
    ]
    assert 'raise ValueError(f"cannot do {formula}")' in lines[1]["traceback"]
    assert "evaluation.py" not in lines[1]["traceback"]


def misbehave(batch: Compositions) -> TermValues:
    print("to the screen")
    print("and the other one", file=sys.stderr)
    os.chdir("/")
    os.environ["OREFLOW_TEST_LEAK"] = "1"
    os.environ.pop("PATH", None)
    random.random()
    np.random.rand()  # noqa: NPY002
    torch.rand(1)
    return ones(batch)


def test_side_effects_are_undone_and_reported_once(capfd: pytest.CaptureFixture[str]) -> None:
    """R10."""
    directory, environment = os.getcwd(), dict(os.environ)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    term = Stub(function=misbehave)
    with pytest.warns(RewardWarning) as caught:
        assert evaluate_term(term, BATCH).valid.all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_term(term, BATCH)
    assert capfd.readouterr() == ("", "")
    assert (os.getcwd(), dict(os.environ)) == (directory, environment)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert sorted(str(warning.message).removeprefix("reward 'stub' ").split(";")[0] for warning in caught) == [
        "changed environment variables",
        "changed the working directory",
        "drew from Python's global random state",
        "drew from numpy's global random state",
        "drew from torch's global random state",
        "printed 'to the screen\\nand the other one'",
    ]


def test_side_effects_are_undone_when_the_reward_raises_too() -> None:
    def raises(batch: Compositions) -> TermValues:
        os.chdir("/")
        raise ValueError("after moving")

    directory = os.getcwd()
    assert not evaluate_term(Stub(function=raises), BATCH).valid.any()
    assert os.getcwd() == directory


# Plug-ins (I10)

TERM = """
@rewards.register("{name}")
class Term:
    name, unit, version, citations, requires = "{name}", "eV", "1", (), "composition"
    scale = {scale}
    def __call__(self, batch):
        return rewards.TermValues(np.full(len(batch), self.scale), np.ones(len(batch), dtype=bool))
"""


def write(path: Path, *names: str, scale: float = 1.0, first: str = "") -> Path:
    texts = [TERM.format(name=name, scale=scale) for name in names]
    path.write_text("import numpy as np, os, time\nfrom oreflow import rewards\n" + first + "".join(texts))
    return path


def test_two_plugins_of_one_name(tmp_path: Path) -> None:
    registry.load_plugin(write(tmp_path / "first.py", "mine"))
    with pytest.raises(PluginError, match=r"second\.py failed on import: .*'mine', which is taken"):
        registry.load_plugin(write(tmp_path / "second.py", "other", "mine"))
    assert set(registry.REWARDS.own) == {"mine"}, "nothing of the second stays"
    with pytest.raises(PluginError, match="'charge_balance', which is taken"):
        registry.load_plugin(write(tmp_path / "third.py", "charge_balance"))


def test_a_plugin_given_twice_is_loaded_once_and_an_edited_one_again(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "mine")
    assert registry.load_plugin(path) == registry.load_plugin(tmp_path / "." / "mine.py") == ["mine"]
    write(path, "mine", "more", scale=22.5)
    assert registry.load_plugin(path) == ["mine", "more"]
    assert registry.make_term("mine")(BATCH).values[0] == 22.5


def test_two_files_of_one_name_live_side_by_side(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        registry.load_plugin(write(tmp_path / folder / "reward.py", folder))
    assert {"a", "b"} <= set(registry.names())
    assert registry.plugin_files() == [tmp_path / "a" / "reward.py", tmp_path / "b" / "reward.py"]


def test_a_plugin_that_prints_or_exits_on_import(tmp_path: Path) -> None:
    with pytest.warns(RewardWarning, match=r"loud\.py printed 'hello'"):
        registry.load_plugin(write(tmp_path / "loud.py", "loud", first="print('hello')\n"))
    with pytest.raises(PluginError, match=r"quits\.py failed on import: SystemExit: 3"):
        registry.load_plugin(write(tmp_path / "quits.py", "quits", first="raise SystemExit(3)\n"))


def test_a_slow_import_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_SLOW_IMPORT_S", 0.05)
    with pytest.warns(RewardWarning, match="took 0 s to import; load what is heavy when a term is built"):
        registry.load_plugin(write(tmp_path / "slow.py", "slow", first="time.sleep(0.1)\n"))


def test_two_installed_rewards_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(*, group: str) -> list[EntryPoint]:
        return [EntryPoint("twin", value, group) for value in ("one.rewards:Twin", "two.rewards:Twin")]

    monkeypatch.setattr("oreflow.envs.plugins.entry_points", installed)
    assert registry.names()["twin"] == "entry point one.rewards:Twin and two.rewards:Twin"
    with pytest.raises(PluginError, match=r"got 2: one\.rewards:Twin, two\.rewards:Twin; uninstall one"):
        registry.make_term("twin")
    assert registry.make_term("charge_balance").name == "charge_balance", "others are unaffected"


def test_an_installed_package_needs_no_plugin_option(tmp_path: Path) -> None:
    """What pip leaves behind: a module, and a folder that names its entry points."""
    write(tmp_path / "my_package.py", "mine", scale=3.5)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[oreflow.rewards]\nmine = my_package:Term\n")
    (tmp_path / "my_package.py").write_text((tmp_path / "my_package.py").read_text().replace("@rewards", "# "))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    program = Path(sys.executable).with_name("oreflow")

    def oreflow(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=True)
        return done.stdout

    assert "(entry point my_package:Term)" in oreflow("list", "rewards")
    assert json.loads(oreflow("score", "NaCl", "--reward", "mine", "--json"))[0]["mine_ev"] == 3.5


class Anions(Stub):
    """Takes pymatgen objects: the fraction of atoms that are oxygen or chlorine."""

    batch_type = "pymatgen"

    def __call__(self, batch: tuple) -> TermValues:  # type: ignore[override]
        values = np.array([c.get_atomic_fraction("O") + c.get_atomic_fraction("Cl") for c in batch])
        return TermValues(values, np.ones(len(batch), dtype=np.bool_))


class First(Anions):
    """Takes the first element for the cation."""

    def __call__(self, batch: tuple) -> TermValues:  # type: ignore[override]
        return TermValues(np.array([float(c.elements[0].Z) for c in batch]), np.ones(len(batch), dtype=np.bool_))


def test_terms_may_ask_for_pymatgen_objects() -> None:
    np.testing.assert_allclose(evaluate_term(Anions(), BATCH).values, [1 / 2, 3 / 5, 1 / 3, 2 / 3])
    check_reward_term(Anions())
    with pytest.raises(RewardContractError, match="stub depends on the order of the elements; item 0"):
        check_reward_term(First())


def test_a_batch_type_that_does_not_exist(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "mine")
    path.write_text(path.read_text().replace("scale =", "batch_type = 'ase'; scale ="))
    registry.load_plugin(path)
    with pytest.raises(RewardContractError, match="expected batch_type 'arrays' or 'pymatgen', got 'ase'"):
        registry.make_term("mine")


class Stop(BaseException):
    def __str__(self) -> str:
        raise RuntimeError


def test_exceptions_of_any_kind_cost_an_item() -> None:
    def raises(batch: Compositions) -> TermValues:
        if "ClNa" in batch.formulas():
            raise Stop
        return ones(batch)

    result = evaluate_term(Stub(function=raises), BATCH)
    assert result.valid.tolist() == [False, True, True, True]
    assert result.reasons == {0: "Stop, whose message cannot be shown"}


def test_masked_values_are_invalid() -> None:
    values = np.ma.masked_array([-9999.0, 1.0, 2.0, 3.0], mask=[True, False, False, True])
    result = evaluate_term(Stub(TermValues(values, np.ones(N, dtype=np.bool_))), BATCH)
    assert result.valid.tolist() == [False, True, True, False]


def test_columns_that_no_table_can_hold_are_refused() -> None:
    columns = {"phase": np.ones(N, dtype=complex)}
    term = Stub(TermValues(np.ones(N), np.ones(N, dtype=np.bool_), columns))
    with pytest.raises(RewardContractError, match="expected column 'phase' of numbers, text or dates, got complex128"):
        evaluate_term(term, BATCH)


def test_a_term_with_a_wrong_attribute_is_refused_when_it_is_built(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "mine")
    path.write_text(path.read_text().replace('"eV"', "None"))
    registry.load_plugin(path)
    with pytest.raises(RewardContractError, match="expected attribute 'unit' of type str, got None"):
        registry.make_term("mine")
