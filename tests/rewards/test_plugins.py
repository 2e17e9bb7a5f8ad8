"""Names, plug-ins and the public contract check: each broken plug-in or term is told what is wrong with it."""

import os
import random
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards import registry
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import RewardTerm, TermValues
from oreflow.rewards.errors import (
    PluginError,
    RewardContractError,
    RewardParameterError,
    RewardWarning,
    UnknownRewardError,
)
from tests.rewards.test_composite import Stub

PLUGIN = """
import numpy as np
from oreflow import rewards

@rewards.register("{name}")
class Term:
    name, unit, version, citations, requires = "{name}", "eV", "1", (), "composition"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, batch):
        return rewards.TermValues(self.scale * batch.n_elements, np.ones(len(batch), dtype=np.bool_))
"""


def write(tmp_path: Path, text: str, name: str = "plugin.py") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_plugin_file_adds_its_reward(tmp_path: Path) -> None:
    assert registry.load_plugin(write(tmp_path, PLUGIN.format(name="mine"))) == ["mine"]
    assert registry.names()["mine"] == "plug-in"
    term = registry.make_term("mine", {"scale": 2.0})
    assert isinstance(term, RewardTerm)
    assert term(Compositions.from_dicts([{1: 2, 8: 1}])).values.tolist() == [4.0]
    check_reward_term(term)


def test_all_built_in_names_can_be_built(tmp_path: Path) -> None:
    built_in = [name for name, origin in registry.names().items() if origin == "built in"]
    assert sorted(built_in) == [
        "bond_valence",
        "charge_balance",
        "chgnet_energy",
        "complexity",
        "contact_ratio",
        "coordination",
        "corner_sharing",
        "crystal_energy_above_hull",
        "crystal_formation_energy",
        "density",
        "eigensymmetry",
        "electronegativity_balance",
        "energy_above_hull",
        "formation_energy",
        "free_parameters",
        "hazardous_elements",
        "novelty",
        "predicted_property",
        "price",
        "prototype_match",
        "scarcity",
        "shortest_distance",
        "smact_validity",
        "tolerance_factor",
        "volume_per_atom",
        "volume_ratio",
    ]
    table = {"reference": str(write(tmp_path, "formula,formation_energy_per_atom\nNaCl,-2.1\n", "known.csv"))}
    params = {"energy_above_hull": table, "crystal_energy_above_hull": table, "novelty": table}
    params["predicted_property"] = {"model": "energy_v2"}
    params["prototype_match"] = {"prototypes": ["221: B@1a A@1b X@3d"]}
    for name in built_in:
        assert registry.make_term(name, params.get(name)).name == name


@pytest.mark.parametrize(
    ("name", "params", "error", "message"),
    [
        ("charge_ballance", None, UnknownRewardError, "did you mean 'charge_balance'"),
        ("", None, UnknownRewardError, "; known: bond_valence, charge_balance"),
        (
            "charge_balance",
            {"tabel": "smact14"},
            RewardParameterError,
            "takes no parameter 'tabel'; did you mean 'table'",
        ),
        ("charge_balance", {"mixed_valence": "no"}, RewardParameterError, "true or false, got 'no'"),
        ("charge_balance", {"table": "smact15"}, ValueError, "did you mean 'smact14'"),
        ("charge_balance", {"table": ["smact14"]}, ValueError, "as a name, a file or a mapping"),
    ],
)
def test_bad_names_and_parameters(name: str, params: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        registry.make_term(name, params)
    assert message in str(caught.value)


def test_a_factory_that_fails_is_named_with_what_it_raised() -> None:
    registry.register("broken")(lambda: 1 / 0)
    with pytest.raises(RewardParameterError, match="'broken' cannot be built: ZeroDivisionError"):
        registry.make_term("broken")


def test_a_missing_parameter_is_named() -> None:
    registry.register("needy")(lambda cutoff: Stub())
    with pytest.raises(RewardParameterError, match="'needy' needs the parameter cutoff"):
        registry.make_term("needy")


def test_a_term_that_is_none_is_refused_when_built() -> None:
    registry.register("nothing")(lambda: object())
    registry.register("alias")(lambda: Stub())
    with pytest.raises(RewardContractError, match="'nothing': expected a RewardTerm, got one without name, unit"):
        registry.make_term("nothing")
    with pytest.raises(RewardContractError, match="registered as 'alias' to have that name, got 'stub'"):
        registry.make_term("alias")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module", "failed on import: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "failed on import: SyntaxError"),
        ("raise SystemExit(3)", "failed on import: SystemExit: 3"),
        (PLUGIN.format(name="charge_balance"), "got 'charge_balance', which is taken"),
        (PLUGIN.format(name="half") + "\n1 / 0\n", "failed on import: ZeroDivisionError"),
        ("x = 1", "registered no reward; decorate its class with @rewards.register('name')"),
    ],
)
def test_a_broken_plugin_is_named_and_leaves_nothing(tmp_path: Path, text: str, message: str) -> None:
    registry.load_plugin(write(tmp_path, PLUGIN.format(name="good"), "good.py"))
    path = write(tmp_path, text)
    with pytest.raises(PluginError) as error:
        registry.load_plugin(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert set(registry.REWARDS.own) == {"good"}


def test_a_missing_plugin_and_a_name_twice(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="found none at"):
        registry.load_plugin(tmp_path / "absent.py")
    with pytest.raises(PluginError, match="expected a Python file"):
        registry.load_plugin(write(tmp_path, "", "notes.txt"))
    registry.load_plugin(write(tmp_path, PLUGIN.format(name="mine")))
    with pytest.raises(PluginError, match="got 'mine', which is taken"):
        registry.load_plugin(write(tmp_path, PLUGIN.format(name="mine"), "second.py"))


class _Point:
    def __init__(self, name: str, target: Any) -> None:
        self.name, self.value, self._target = name, f"package:{name}", target

    def load(self) -> Any:
        if isinstance(self._target, Exception):
            raise self._target
        return self._target


def test_entry_points_are_found_and_a_broken_one_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from oreflow.agent.commands.setup.list import _rewards

    points = [_Point("stub", Stub), _Point("broken", ImportError("gone")), _Point("charge_balance", Stub)]
    monkeypatch.setattr("oreflow.envs.plugins.entry_points", lambda group: points)
    assert registry.make_term("stub").name == "stub"
    assert registry.names()["charge_balance"] == "built in"  # an installed package cannot replace a built-in reward
    with pytest.raises(PluginError, match="entry point package:broken failed: ImportError: gone"):
        registry.make_term("broken")
    listing = _rewards()["rewards"]
    assert "cannot be loaded: entry point package:broken failed" in listing["broken"]
    assert "A term that returns what it is told to" in listing["stub"]


def all_valid(values: np.ndarray) -> TermValues:
    return TermValues(np.asarray(values, dtype=np.float64), np.ones(len(values), dtype=np.bool_))


_RNG = np.random.default_rng(0)
BROKEN_TERMS = {
    "gives different values when called twice: seed it": lambda b: all_valid(_RNG.random(len(b))),
    "do not normalise over the batch": lambda b: all_valid(b.n_atoms / b.n_atoms.max()),
    "changes with the number of formula units": lambda b: all_valid(b.n_atoms),
    "changes with padding": lambda b: all_valid((b.atomic_numbers == 0).sum(axis=1) - (5 - b.n_elements)),
    "changes its input, which is read-only": lambda b: all_valid(b.counts.sort(axis=1)),
    "raises KeyError: 118; set valid to False": lambda b: dict.fromkeys(range(118), 0)[int(b.atomic_numbers.max())],
    "expected TermValues, got ndarray": lambda b: b.n_atoms.astype(float),
    "expected floating values": lambda b: TermValues(b.n_elements, np.ones(len(b), dtype=np.bool_)),
    "expected column 'std' of shape": lambda b: TermValues(
        np.zeros(len(b)), np.ones(len(b), dtype=np.bool_), {"std": np.zeros((len(b), 2))}
    ),
}


@pytest.mark.parametrize("complaint", BROKEN_TERMS)
def test_each_kind_of_broken_term_is_caught(complaint: str) -> None:
    with pytest.raises(RewardContractError) as error:
        check_reward_term(Stub(function=BROKEN_TERMS[complaint]))
    assert complaint in str(error.value)


def test_dependence_on_the_order_of_the_batch_is_caught() -> None:
    """Each item alone gets its own number back; only its place among others spoils it."""

    def ranks(batch: Compositions) -> TermValues:
        alone = batch.reduced().n_elements.astype(np.float64)
        descends = len(batch) > 1 and batch.atomic_numbers[0].max() > batch.atomic_numbers[-1].max()
        return all_valid(alone + 1.0 if descends and batch.atomic_numbers[0].max() == 118 else alone)

    with pytest.raises(RewardContractError, match="depends on the batch's order"):
        check_reward_term(Stub(function=ranks))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": None}, "expected attribute 'unit' of type str, got None"),
        ({"citations": ["a"]}, "expected attribute 'citations' of type tuple"),
        ({"requires": "luck"}, "expected requires 'composition' or 'structure', got 'luck'"),
    ],
)
def test_identity_is_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardContractError) as error:
        check_reward_term(Stub(function=lambda b: all_valid(b.n_elements), **changes))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *(("charge_balance", {"mixed_valence": mixed}) for mixed in (False, True)),
        *(("electronegativity_balance", {"table": table}) for table in ("pymatgen_common", "smact_icsd24")),
        ("formation_energy", {}),
        ("smact_validity", {}),
        ("electronegativity_balance", {"electronegativities": "smact", "table": {"Na": [1], "Cl": [-1], "O": [-2]}}),
    ],
)
def test_built_in_terms_hold_their_contract(name: str, params: dict[str, Any]) -> None:
    check_reward_term(registry.make_term(name, params))


def test_the_template_holds_the_contract_it_teaches() -> None:
    template = Path(str(files("oreflow.agent").joinpath("templates", "my_reward.py")))
    assert registry.load_plugin(template) == ["light_elements"]
    term = registry.make_term("light_elements")
    check_reward_term(term)
    water = term(Compositions.from_dicts([{1: 2, 8: 1}]))
    np.testing.assert_allclose(water.values, 18.015 / 3, rtol=1e-3)


NOISY_PACKAGE = """
import os, random, warnings
import numpy as np
os.environ["NOISE_OF_A_PACKAGE"] = "1"
random.random()
np.random.random()
print("welcome to the package")
"""
QUIET = """
import numpy as np
{top}
from oreflow import rewards

@rewards.register("quiet")
class Quiet(rewards.Term):
    \"\"\"Something.\"\"\"
    name, unit, version, citations = "quiet", "", "1", ()

    def __call__(self, batch):
        {inside}
        return rewards.TermValues(batch.n_elements.astype(float), np.ones(len(batch), dtype=np.bool_))
"""


@pytest.mark.kind("plug-ins that import packages")
@pytest.mark.parametrize(
    ("top", "inside", "reports"),
    [
        ("import noisy_package_1", "pass", 0),
        ("from noisy_package_2 import os as _", "pass", 0),
        ("", "import noisy_package_3", 0),
        ("import noisy_package_4\nnp.random.random()", "pass", 1),
        ("", "print('mine')", 1),
    ],
)
def test_what_imported_packages_do_is_not_laid_at_the_plugins_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str, inside: str, reports: int
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for number in range(1, 5):
        (tmp_path / f"noisy_package_{number}.py").write_text(NOISY_PACKAGE)
    (tmp_path / "mine.py").write_text(QUIET.format(top=top, inside=inside))
    states = random.getstate, lambda: np.random.get_state()[1].tolist()  # noqa: NPY002
    before = [state() for state in states]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        registry.load_plugin(tmp_path / "mine.py")
        term = registry.make_term("quiet")
        for _ in range(2):
            evaluate_term(term, Compositions.from_dicts([{11: 1, 17: 1}]))
    said = [str(warning.message) for warning in caught if issubclass(warning.category, RewardWarning)]
    assert len(said) == reports, said
    assert [state() for state in states] == before
    assert "NOISE_OF_A_PACKAGE" not in os.environ
