"""Novelty: equal to a Python set of key bytes, exact under hash collisions, indifferent to order and multiple."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.errors import ReferenceTableError, ReferenceTableWarning
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.composition import novelty
from oreflow.rewards.terms.composition.novelty import KnownFormulas


def batch_of(*formulas: str) -> Compositions:
    return Compositions.from_dicts([parse_formula(formula) for formula in formulas])


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_verdicts_by_hand(tmp_path: Path) -> None:
    term = make_term("novelty", {"reference": str(write(tmp_path / "known.csv", "formula\nNaN\nFe4O6\nLiFePO4\n"))})
    result = term(batch_of("NaN", "Fe2O3", "Fe3O4", "PO4FeLi", "Na3N", "Na"))
    assert result.values.tolist() == [0.0, 0.0, 1.0, 0.0, 1.0, 1.0]
    assert result.columns["is_known"].tolist() == [True, True, False, True, False, False]
    assert result.valid.all()
    assert term.version == f"1-{term.reference.sha256[:12]}"  # type: ignore[attr-defined]
    check_reward_term(term)


def test_a_composition_without_elements_is_invalid(tmp_path: Path) -> None:
    term = make_term("novelty", {"reference": str(write(tmp_path / "known.csv", "formula\nNaCl\n"))})
    result = term(Compositions(np.array([[0, 0], [11, 17]]), np.array([[0, 0], [2, 2]])))
    assert result.valid.tolist() == [False, True]
    assert result.reasons == {0: "a composition without elements"}
    assert term(Compositions.from_dicts([])).values.tolist() == []


def test_rows_set_aside_are_warned_of_and_a_list_without_formulas_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "known.csv", "formula\nNaCl\n??\n")
    with pytest.warns(ReferenceTableWarning, match=r"known.csv: 1 of 2 rows set aside; row 3: expected a formula"):
        make_term("novelty", {"reference": str(path)})
    with pytest.raises(ReferenceTableError, match="holds no readable formula; row 2"):
        make_term("novelty", {"reference": str(write(path, "formula\n??\n"))})


FORMULAS = st.dictionaries(st.integers(1, 6) | st.integers(1, 118), st.integers(1, 4), min_size=1, max_size=6)


@given(st.lists(FORMULAS, max_size=12), st.lists(FORMULAS, max_size=12), st.integers(1, 5))
def test_equals_a_set_of_key_bytes(known: list[dict[int, int]], asked: list[dict[int, int]], multiple: int) -> None:
    listed = Compositions.from_dicts(known)
    batch = Compositions.from_dicts([{z: multiple * n for z, n in d.items()} for d in asked + known])
    keys = set(listed.key_bytes())
    assert KnownFormulas(listed).contain(batch).tolist() == [key in keys for key in batch.key_bytes()]


def test_formulas_that_share_a_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hash of two bits everything collides until a seed is found that does not."""
    hashes = novelty._hashes
    monkeypatch.setattr(novelty, "_hashes", lambda keys, seed: hashes(keys, seed) & np.uint64(3))
    known, other = batch_of("NaCl", "KCl", "LiF"), batch_of("CsCl", "RbI", "MgO", "CaO", "KBr", "NaBr")
    assert KnownFormulas(known).contain(known).all()
    assert not KnownFormulas(known).contain(other).any()
