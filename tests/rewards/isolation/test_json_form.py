"""Objects and values survive the way through JSON to the last bit."""

import json

import numpy as np
import pytest

from oreflow.envs.objects.formulas import parse_formulas
from oreflow.envs.objects.rows import Rows
from oreflow.envs.structure_io.encode import encode_structure
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.errors import ExecutorError
from oreflow.rewards.executors.messages import as_message, from_message
from oreflow.rewards.isolation.json_form import payload_from_json, payload_to_json, value_from_json, value_to_json
from tests.support.crystal_energies import decorations
from tests.support.small_crystals import rock_salt


def through_json(data):
    return json.loads(json.dumps(data, allow_nan=False))


def test_compositions() -> None:
    batch = parse_formulas(["Fe2O3", "NaCl", "LiFePO4", "Na2Cl2"])[0]
    data = through_json(payload_to_json(as_message(batch)))
    assert data["amounts"][2] == {"Li": 1, "O": 4, "P": 1, "Fe": 1}
    back = from_message(payload_from_json(data))
    assert back.key_bytes() == batch.key_bytes()
    assert back.counts.tolist() == batch.counts.tolist()


def test_crystals_with_geometry_and_without() -> None:
    crystal = encode_structure(rock_salt(5.64 + 1e-13))
    data = through_json(payload_to_json(as_message(crystal)))
    assert data["cif"][0].startswith("data_")
    back = from_message(payload_from_json(data))
    np.testing.assert_array_equal(back.lattice, crystal.lattice)
    assert back.key_bytes() == crystal.key_bytes()
    decoration = decorations((225, "Na a, Cl b"))
    data = through_json(payload_to_json(as_message(decoration)))
    assert data["cif"] is None
    assert from_message(payload_from_json(data)).key_bytes() == decoration.key_bytes()


def test_own_worlds_are_refused() -> None:
    with pytest.raises(ExecutorError, match=r"compositions and crystals, got objects of .grid.; use local"):
        payload_to_json(as_message(Rows("grid", np.zeros((1, 2), dtype=np.int64))))


@pytest.mark.parametrize("valid", [True, False])
def test_values_with_columns_and_reasons(valid: bool) -> None:
    columns = {"std": np.array([0.1 + 0.2]), "n": np.array([3]), "table": np.array(["a b"], dtype=object)}
    said = TermValues(np.array([1 / 3]), np.array([valid]), columns, {0: "why"}, {0: "Traceback"})
    back = value_from_json(through_json(value_to_json({"values": said, "side_effects": ["printed 'x'"]})))
    assert back["side_effects"] == ["printed 'x'"]
    found = back["values"]
    assert found.valid.tolist() == [valid]
    assert not valid or found.values.tolist() == [1 / 3]
    assert {name: column.tolist() for name, column in found.columns.items()} == {
        "std": [0.1 + 0.2], "n": [3], "table": ["a b"]
    }  # fmt: skip
    assert (found.reasons, found.tracebacks) == ({0: "why"}, {0: "Traceback"})


def test_a_script_may_answer_with_a_number_alone_or_none() -> None:
    assert value_from_json(-3.25)["values"].values.tolist() == [-3.25]
    nothing = value_from_json({"value": None, "reason": "SCF did not converge"})["values"]
    assert (nothing.valid.tolist(), nothing.reasons) == ([False], {0: "SCF did not converge"})
    infinite = value_from_json(json.loads("Infinity"))["values"]
    assert (infinite.valid.tolist(), infinite.reasons) == ([False], {0: "value inf"})
    assert value_from_json({"raised": "RewardContractError", "message": "m"})["message"] == "m"
    for wrong in ("-3.25", True, [1.0], {"value": "x"}):
        with pytest.raises(ValueError, match="expected a number, or null with a reason"):
            value_from_json(wrong)
