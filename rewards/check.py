"""The public contract test of a reward term: one function a clause, each failing with the likely mistake.

from oreflow.rewards.check import check_reward_term
check_reward_term(MyTerm())
"""

import numpy as np

from oreflow.envs.errors import OreflowError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.formulas import pymatgen_compositions
from oreflow.rewards.check_probes import probe_compositions, probe_crystals, relabelled_crystals, reverse_sites
from oreflow.rewards.composite import Reward
from oreflow.rewards.contract.batches import as_required, labels_of
from oreflow.rewards.contract.evaluation import call_guarded, evaluate_term, is_mutation, join, said
from oreflow.rewards.contract.protocol import CHEMICAL, Batch, RewardTerm, TermValues
from oreflow.rewards.contract.term import Term, as_term
from oreflow.rewards.errors import RewardContractError
from oreflow.rewards.registry import check_identity


def check_reward_term(term: RewardTerm, batch: Batch | None = None) -> None:
    """Drives a term through every clause of its contract.

    That the order of the elements does not matter is checked for terms that take pymatgen objects; `Compositions` have
    one order only, ascending atomic number. Without a batch, terms that require structures are also asked about the
    same crystals with another origin.

    Raises:
        RewardContractError: with the clause that does not hold and what usually causes it.
    """
    check_identity(term)
    term = as_term(term).unwrapped  # a remembered answer would hide a change
    of_structures = term.requires == "structure"
    if batch is None and term.requires not in CHEMICAL:
        raise RewardContractError(
            f"{term.name} requires objects of the world {term.requires!r}: give a batch of them, kernel.objects(states)"
        )
    given, batch = batch, batch if batch is not None else probe_crystals() if of_structures else probe_compositions()
    batch, rows, reason = as_required(term, batch)
    if reason and not len(rows):
        raise RewardContractError(f"{reason}: it has no value for any of these objects; choose another reward")
    check_raises_nothing(term, batch)
    result = evaluate_term(term, batch)
    _expect_same(term, result, evaluate_term(term, batch), "gives different values when called twice: seed it")
    single = join([evaluate_term(term, batch[np.array([i])]) for i in range(len(batch))])
    complaint = "gives an item in a batch another value than the item alone: do not normalise over the batch"
    _expect_same(term, result, single, complaint)
    order = np.arange(len(batch))[::-1]
    back = evaluate_term(term, batch[order])
    _expect_same(term, result, TermValues(back.values[order], back.valid[order]), "depends on the batch's order")
    if isinstance(batch, Crystals):
        _expect_same(term, result, evaluate_term(term, reverse_sites(batch)), "depends on the order of the sites")
        if given is None:
            complaint = "gives a crystal another value when its origin is shifted: use distances, not coordinates"
            _expect_same(term, result, evaluate_term(term, relabelled_crystals()), complaint)
        return
    if not isinstance(batch, Compositions):
        return
    doubled = Compositions(batch.atomic_numbers, batch.counts * 2)
    _expect_same(
        term, result, evaluate_term(term, doubled), "changes with the number of formula units: use batch.reduced()"
    )
    wider = Compositions(np.pad(batch.atomic_numbers, ((0, 0), (0, 2))), np.pad(batch.counts, ((0, 0), (0, 2))))
    _expect_same(term, result, evaluate_term(term, wider), "changes with padding: skip slots with atomic number 0")
    if term.batch_type == "pymatgen":
        check_element_order(term, batch, result)


def check_element_order(term: Term, batch: Compositions, result: TermValues) -> None:
    """A term that takes pymatgen objects reads nothing from the order of their elements."""
    from pymatgen.core import Composition

    reversed_elements = tuple(
        Composition(dict(reversed(list(composition.items())))) for composition in pymatgen_compositions(batch)
    )
    _expect_same(term, result, term(reversed_elements), "depends on the order of the elements")


def check_raises_nothing(term: Term, batch: Batch) -> None:
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
        label = labels_of(batch[broken[:1]])[0]
        raise RewardContractError(
            f"{term.name} gives {label} the value {np.asarray(raw.values)[broken[0]]} and calls it valid: expected a "
            "finite number, or valid set to False"
        )


def check_shaped(reward: Reward, batch: Batch) -> None:
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
                f"{name}: the value {term.values[row[0]]:.6g} of {labels_of(batch[row])[0]} has no log-score; expected "
                "values of 0 or more under the shape logarithm. Choose another shape, or mend the reward"
            )


def _expect_same(term: Term, a: TermValues, b: TermValues, complaint: str) -> None:
    close = np.isclose(a.values, b.values, rtol=1e-5, atol=1e-5) | ~a.valid
    wrong = np.flatnonzero((a.valid != b.valid) | ~close)
    if len(wrong):
        i = int(wrong[0])
        raise RewardContractError(
            f"{term.name} {complaint}; item {i}: {a.values[i]:.6g} (valid {a.valid[i]}) "
            f"and {b.values[i]:.6g} (valid {b.valid[i]})"
        )
