"""The base class of reward terms: its defaults, and the adapter through which classes without it go on working."""

import numpy as np
import pytest

from oreflow import rewards
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.contract.cache import CachedTerm
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.term import PlainTerm, Term, as_term
from oreflow.rewards.errors import RewardWarning
from oreflow.rewards.registry import make_term, names
from oreflow.rewards.shaping import SHAPES

SALT = Compositions.from_dicts([{11: 1, 17: 1}, {12: 1, 8: 1}])


class Atoms(rewards.Term):
    """Counts atoms; says only what it must."""

    name, unit, version = "atoms", "atoms", "1"

    def __call__(self, batch: Compositions) -> rewards.TermValues:
        n = batch.reduced().n_atoms.astype(np.float64)
        return rewards.TermValues(n, n > 0)


class Slotted:
    """A plain class of 0.4 that takes no further attributes."""

    __slots__ = ()
    name, unit, version, citations, requires = "slotted", "atoms", "1", (), "composition"

    def __call__(self, batch: Compositions) -> rewards.TermValues:
        print("on the side")
        return Atoms()(batch)


def test_a_subclass_of_three_names_fulfils_the_contract() -> None:
    term = Atoms()
    check_reward_term(term)
    assert isinstance(term, rewards.RewardTerm)
    assert as_term(term) is term
    assert (term.citations, term.requires, term.needs_geometry, term.batch_type) == ((), "composition", True, "arrays")
    with pytest.raises(TypeError, match="abstract"):
        type("Nothing", (rewards.Term,), {})()


def test_a_plain_class_works_everywhere_and_is_still_watched() -> None:
    plain = Slotted()
    term = as_term(plain)
    assert isinstance(term, PlainTerm)
    assert term.plain is plain
    assert (term.needs_geometry, term.deterministic, term.unwrapped) == (True, True, term)
    with pytest.warns(RewardWarning, match="'slotted' printed 'on the side'"):
        assert evaluate_term(plain, SALT).values.tolist() == [2.0, 2.0]
    reward = rewards.Reward([(plain, SHAPES["minimise"](beta=1.0))])
    assert reward(SALT).log_reward.tolist() == [-2.0, -2.0]
    assert reward.nondeterministic == []


def test_a_cache_shows_what_it_wraps() -> None:
    term = Atoms()
    assert CachedTerm(term).unwrapped is term
    assert CachedTerm(CachedTerm(term)).unwrapped is term


@pytest.mark.parametrize("name", [n for n, origin in names().items() if origin == "built in" and n != "novelty"])
def test_every_built_in_reward_has_the_base(name: str) -> None:
    try:
        term = make_term(name)
    except (rewards.errors.RewardParameterError, ImportError) as error:  # needs a file or a package
        pytest.skip(str(error))
    assert isinstance(term, Term)
    assert not isinstance(term, PlainTerm)
