"""The public contract test of a reward term: one function a clause, each failing with the likely mistake.

from rewards.check import check_reward_term
check_reward_term(MyTerm())
"""

import numpy as np

from envs.compositions import Compositions
from envs.errors import OreflowError
from rewards.composite import evaluate_term
from rewards.errors import RewardContractError
from rewards.protocol import RewardTerm

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

    Raises:
        RewardContractError: with the clause that does not hold and what usually causes it.
    """
    batch = batch if batch is not None else Compositions.from_dicts(_PROBES)
    check_identity(term)
    check_raises_nothing(term, batch)
    result = evaluate_term(term, batch)
    _expect_same(term, result, evaluate_term(term, batch), "gives different values when called twice: seed it")
    single = [evaluate_term(term, batch[np.array([i])]) for i in range(len(batch))]
    _expect_same_values(
        term,
        result.values,
        result.valid,
        np.concatenate([s.values for s in single]),
        np.concatenate([s.valid for s in single]),
        "gives an item in a batch another value than the item alone: do not normalise over the batch",
    )
    order = np.arange(len(batch))[::-1]
    shuffled = evaluate_term(term, batch[order])
    _expect_same_values(
        term, result.values[order], result.valid[order], shuffled.values, shuffled.valid, "depends on the batch's order"
    )
    doubled = Compositions(batch.atomic_numbers, batch.counts * 2)
    _expect_same(
        term, result, evaluate_term(term, doubled), "changes with the number of formula units: use batch.reduced()"
    )
    wider = Compositions(np.pad(batch.atomic_numbers, ((0, 0), (0, 2))), np.pad(batch.counts, ((0, 0), (0, 2))))
    _expect_same(term, result, evaluate_term(term, wider), "changes with padding: skip slots with atomic number 0")


def check_identity(term: RewardTerm) -> None:
    """Name, unit, version, citations and requires are there."""
    for attribute, kind in [("name", str), ("unit", str), ("version", str), ("citations", tuple), ("requires", str)]:
        value = getattr(term, attribute, None)
        if not isinstance(value, kind):
            raise RewardContractError(
                f"{type(term).__name__}: expected attribute {attribute!r} of type {kind.__name__}, got {value!r}"
            )
    if term.requires not in ("composition", "structure"):
        raise RewardContractError(f"{term.name}: expected requires 'composition' or 'structure', got {term.requires!r}")


def check_raises_nothing(term: RewardTerm, batch: Compositions) -> None:
    """Items that the term has no value for are marked, not raised upon."""
    try:
        term(batch)
    except OreflowError:
        raise
    except Exception as error:
        if isinstance(error, ValueError) and "read-only" in str(error):
            complaint = "changes its input, which is read-only; work on a copy"
        else:
            complaint = f"raises {type(error).__name__}: {error}; set valid to False for items without a value"
        raise RewardContractError(f"{term.name} {complaint}") from error


def _expect_same(term: RewardTerm, a, b, complaint: str) -> None:
    _expect_same_values(term, a.values, a.valid, b.values, b.valid, complaint)


def _expect_same_values(
    term: RewardTerm, values: np.ndarray, valid: np.ndarray, values2: np.ndarray, valid2: np.ndarray, complaint: str
) -> None:
    close = np.isclose(values, values2, rtol=1e-5, atol=1e-5) | ~valid
    wrong = np.flatnonzero((valid != valid2) | ~close)
    if len(wrong):
        i = int(wrong[0])
        raise RewardContractError(
            f"{term.name} {complaint}; item {i}: {values[i]:.6g} (valid {valid[i]}) "
            f"and {values2[i]:.6g} (valid {valid2[i]})"
        )
