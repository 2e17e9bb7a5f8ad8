"""Values are computed once a formula; a term that answers twice differently is found out."""

import warnings

import numpy as np
import pytest

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.composite import Reward, build_term, make_shape
from oreflow.rewards.contract.cache import CachedTerm
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.errors import RewardWarning
from tests.rewards.test_composite import Stub

LIH, WATER, RUTILE, SALT = {1: 1, 3: 1}, {1: 2, 8: 1}, {8: 2, 22: 1}, {11: 1, 17: 1}


class Counting(Stub):
    """The number of elements times ten plus the atoms; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __call__(self, batch: Compositions) -> TermValues:
        self.asked += batch.formulas()
        names = np.array(batch.formulas(), dtype=object)
        valid = ~np.isin(names, ["ClNa"])
        reasons = dict.fromkeys(np.flatnonzero(~valid).tolist(), "no salt")
        columns = {"label": names, "half": batch.n_atoms / 2}
        return TermValues(10.0 * batch.n_elements + batch.reduced().n_atoms, valid, columns, reasons)


def test_each_formula_is_evaluated_once_and_nothing_is_lost() -> None:
    term = Counting()
    cached = CachedTerm(term)
    first = Compositions.from_dicts([WATER, SALT, WATER, RUTILE])
    second = Compositions.from_dicts([RUTILE, LIH, SALT, {1: 4, 8: 2}])  # the last is water again
    cached(first)
    asked_first = list(term.asked)
    assert asked_first[:3] == ["H2O", "ClNa", "O2Ti"], "duplicates in a batch are asked for once"
    assert set(asked_first[3:]) <= {"H2O", "ClNa", "O2Ti"}, "and then only the sample that is asked again"
    result = cached(second)
    assert term.asked[len(asked_first)] == "HLi", "of the second batch one formula is new"
    plain = Counting()(second.reduced())
    assert result.values.tolist() == plain.values.tolist()
    assert result.valid.tolist() == plain.valid.tolist() == [True, True, False, True]
    assert result.reasons == plain.reasons == {2: "no salt"}
    assert result.columns["label"].tolist() == ["O2Ti", "HLi", "ClNa", "H2O"]
    assert result.columns["half"].dtype == np.float64


def test_rechecks_thin_out_and_memory_is_bounded() -> None:
    term = Counting()
    cached = CachedTerm(term, max_items=3)
    batch = Compositions.from_dicts([WATER, RUTILE])
    for _ in range(64):
        cached(batch)
    assert cached.n_evaluated == 2 + 7 * 2, "two once, and both again in calls 1, 2, 4, 8, 16, 32 and 64"
    cached(Compositions.from_dicts([LIH, SALT]))
    assert len(cached._known) == 3
    before = len(term.asked)
    cached(batch)
    assert term.asked[before:] == ["H2O"], "the oldest was forgotten"


def test_a_column_that_only_some_batches_have_stays_with_its_rows() -> None:
    def sometimes(batch: Compositions) -> TermValues:
        extra = {"note": np.array(["x"] * len(batch))} if len(batch) > 1 else {}
        return TermValues(np.zeros(len(batch)), np.ones(len(batch), dtype=np.bool_), extra)

    cached = CachedTerm(Stub(function=sometimes))
    cached(Compositions.from_dicts([WATER, RUTILE]))
    result = cached(Compositions.from_dicts([WATER, SALT]))
    assert result.columns["note"].tolist() == ["x", None]


def test_a_nondeterministic_term_is_named_and_no_longer_cached() -> None:
    rng = np.random.default_rng(0)
    n_asked = []

    def random(batch: Compositions) -> TermValues:
        n_asked.append(len(batch))
        return TermValues(rng.random(len(batch)), np.ones(len(batch), dtype=np.bool_))

    cached = CachedTerm(Stub(function=random))
    reward = Reward([(cached, make_shape("maximise", {"beta": 1.0}))])
    assert reward.nondeterministic == []
    batch = Compositions.from_dicts([WATER, RUTILE])
    with pytest.warns(RewardWarning, match="'stub' is not deterministic: H2O got 0"):
        reward(batch)
    assert reward.nondeterministic == ["stub"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        first, second = reward(batch), reward(batch)
    assert (first.log_reward != second.log_reward).all()
    assert n_asked == [2, 2, 2, 2]


def test_determinism_is_watched_without_a_cache_too() -> None:
    term = Counting()
    uncached = CachedTerm(term, remember=False)
    batch = Compositions.from_dicts([WATER, WATER])
    uncached(batch)
    assert term.asked == ["H2O"] * 4
    uncached(batch)
    assert uncached.deterministic


@pytest.mark.parametrize(
    ("entry", "wrapped"),
    [({}, False), ({"cache": False}, False), ({"cache": True}, True)],
)
def test_built_in_terms_are_cached_only_on_request(entry: dict, wrapped: bool) -> None:
    shape = {"kind": "minimise", "beta": 1.0}
    term, _ = build_term({"name": "charge_balance", "shape": shape, **entry})
    assert isinstance(term, CachedTerm) is wrapped
    assert term(Compositions.from_dicts([SALT])).values.tolist() == [0.0]


def test_columns_keep_their_cells_when_their_type_changes_between_batches() -> None:
    """Without a missing value a column is often of integers; cells may be lists."""
    gaps = {"ClNa": np.nan, "O2Ti": 2.5, "HLi": 3}

    def term(batch: Compositions) -> TermValues:
        cells = [gaps[formula] for formula in batch.formulas()]
        lists = np.empty(len(batch), dtype=object)
        lists[:] = [[formula, 1] for formula in batch.formulas()]
        columns = {"gap": np.array(cells), "lists": lists}
        return TermValues(np.zeros(len(batch)), np.ones(len(batch), dtype=np.bool_), columns)

    cached = CachedTerm(Stub(function=term))
    cached(Compositions.from_dicts([SALT, RUTILE]))
    cached(Compositions.from_dicts([LIH]))
    result = cached(Compositions.from_dicts([SALT, RUTILE, LIH]))
    assert result.valid.all()
    np.testing.assert_array_equal(result.columns["gap"], [np.nan, 2.5, 3.0])
    assert result.columns["lists"].tolist() == [["ClNa", 1], ["O2Ti", 1], ["HLi", 1]]
