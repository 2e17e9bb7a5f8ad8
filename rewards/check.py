"""The public contract test of a reward term: one function a clause, each failing with the likely mistake.

from rewards.check import check_reward_term
check_reward_term(MyTerm())
"""

import numpy as np

from envs.compositions import Compositions
from envs.decode import pymatgen_compositions
from envs.errors import OreflowError
from rewards.cache import CachedTerm
from rewards.composite import Reward
from rewards.errors import RewardContractError
from rewards.evaluation import call_guarded, evaluate_term, is_mutation, join, said
from rewards.protocol import RewardTerm, TermValues
from rewards.registry import check_identity

# Oxides, halides, nitrides, an intermetallic, four and five elements, a noble gas, an element beyond every table.
_PROBES: tuple[dict[int, int], ...] = (
    {11: 1, 17: 1},
    {26: 3, 8: 4},
    {11: 1, 7: 1},
    {55: 1, 82: 1, 53: 3},
    {1: 2, 8: 1},
    {3: 1, 26: 1, 15: 1, 8: 4},
    {13: 2, 8: 3},
    {29: 1, 30: 1},
    {22: 1, 8: 2},
    {3: 10, 32: 1, 15: 2, 16: 12},
    {31: 1, 33: 1},
    {20: 5, 15: 3, 8: 12, 9: 1},
    {54: 1, 9: 2},
    {118: 1},
)


def check_reward_term(term: RewardTerm, batch: Compositions | None = None) -> None:
    """Drives a term through every clause of its contract.

    That the order of the elements does not matter is checked for terms that take pymatgen objects; `Compositions` have
    one order only, ascending atomic number.

    Raises:
        RewardContractError: with the clause that does not hold and what usually causes it.
    """
    if isinstance(term, CachedTerm):
        term = term.term  # a remembered answer would hide a change
    batch = batch if batch is not None else Compositions.from_dicts(_PROBES)
    check_identity(term)
    check_raises_nothing(term, batch)
    result = evaluate_term(term, batch)
    _expect_same(term, result, evaluate_term(term, batch), "gives different values when called twice: seed it")
    single = join([evaluate_term(term, batch[np.array([i])]) for i in range(len(batch))])
    complaint = "gives an item in a batch another value than the item alone: do not normalise over the batch"
    _expect_same(term, result, single, complaint)
    order = np.arange(len(batch))[::-1]
    back = evaluate_term(term, batch[order])
    _expect_same(term, result, TermValues(back.values[order], back.valid[order]), "depends on the batch's order")
    doubled = Compositions(batch.atomic_numbers, batch.counts * 2)
    _expect_same(
        term, result, evaluate_term(term, doubled), "changes with the number of formula units: use batch.reduced()"
    )
    wider = Compositions(np.pad(batch.atomic_numbers, ((0, 0), (0, 2))), np.pad(batch.counts, ((0, 0), (0, 2))))
    _expect_same(term, result, evaluate_term(term, wider), "changes with padding: skip slots with atomic number 0")
    if getattr(term, "batch_type", "arrays") == "pymatgen":
        check_element_order(term, batch, result)


def check_element_order(term: RewardTerm, batch: Compositions, result: TermValues) -> None:
    """A term that takes pymatgen objects reads nothing from the order of their elements."""
    from pymatgen.core import Composition

    reversed_elements = tuple(
        Composition(dict(reversed(list(composition.items())))) for composition in pymatgen_compositions(batch)
    )
    _expect_same(term, result, term(reversed_elements), "depends on the order of the elements")


def check_raises_nothing(term: RewardTerm, batch: Compositions) -> None:
    """Items that the term has no value for are marked, not raised upon, and what is marked valid is a number."""
    try:
        raw = call_guarded(term, batch)
    except OreflowError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if is_mutation(error):
            complaint = "changes its input, which is read-only; work on a copy"
        else:
            complaint = f"raises {said(error)}; set valid to False for items without a value"
        raise RewardContractError(f"{term.name} {complaint}") from error
    result = evaluate_term(term, batch)
    broken = np.flatnonzero(np.asarray(raw.valid) & ~result.valid)
    if len(broken):
        formula = batch[broken[:1]].formulas()[0]
        raise RewardContractError(
            f"{term.name} gives {formula} the value {np.asarray(raw.values)[broken[0]]} and calls it valid: expected a "
            "finite number, or valid set to False"
        )


def check_shaped(reward: Reward, batch: Compositions) -> None:
    """Every valid value of a batch has a log-score: a value that is itself a reward is never negative.

    Raises:
        RewardContractError: naming a term, a value and a formula.
    """
    result = reward(batch)
    for name, term in result.terms.items():
        wrong = np.flatnonzero(term.valid & np.isnan(result.log_scores[name]))
        if len(wrong):
            row = wrong[:1]
            raise RewardContractError(
                f"{name}: the value {term.values[row[0]]:.6g} of {batch[row].formulas()[0]} has no log-score; expected "
                "values of 0 or more under the shape logarithm. Choose another shape, or mend the reward"
            )


def _expect_same(term: RewardTerm, a: TermValues, b: TermValues, complaint: str) -> None:
    close = np.isclose(a.values, b.values, rtol=1e-5, atol=1e-5) | ~a.valid
    wrong = np.flatnonzero((a.valid != b.valid) | ~close)
    if len(wrong):
        i = int(wrong[0])
        raise RewardContractError(
            f"{term.name} {complaint}; item {i}: {a.values[i]:.6g} (valid {a.valid[i]}) "
            f"and {b.values[i]:.6g} (valid {b.valid[i]})"
        )
