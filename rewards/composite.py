"""Several terms and their shapes as one log-reward, with every part kept beside the total."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.compositions import Compositions
from envs.elements import nearest
from envs.errors import OreflowError
from rewards.errors import RewardContractError, RewardParameterError
from rewards.protocol import RewardTerm, TermValues
from rewards.registry import make_term
from rewards.shaping import SHAPES, Shape


@dataclass(frozen=True)
class RewardValues:
    """A batch's rewards.

    Attributes:
        log_reward: float64 [batch]; NaN where invalid.
        valid: bool [batch], False where any term has no value.
        terms: each term's own values, by name.
        log_scores: each term's share of log R, float64 [batch], by name; they sum to log R where no bound cuts it.
    """

    log_reward: np.ndarray
    valid: np.ndarray
    terms: dict[str, TermValues]
    log_scores: dict[str, np.ndarray]

    def reasons(self) -> dict[int, str]:
        """Why rows are invalid: the first term's reason of each; every invalid row has one."""
        out: dict[int, str] = {}
        for name, term in self.terms.items():
            for row in np.flatnonzero(~term.valid).tolist():
                out.setdefault(row, f"{name}: {term.reasons.get(row, 'no valid value')}")
        for row in np.flatnonzero(~self.valid).tolist():
            out.setdefault(row, "the log-scores of the terms do not add up to a number")
        return out


class Reward:
    """log R(x) = beta * sum of log-scores, cut to [log_min, log_max].

    An item for which any term is invalid is invalid as a whole: its log-reward is NaN and it is left out of training
    and counted, never turned into a low score.

    Args:
        terms: pairs of a term and its shape.
        beta: inverse temperature on log R.
        log_min, log_max: bounds of log R.
    """

    def __init__(
        self,
        terms: Sequence[tuple[RewardTerm, Shape]],
        *,
        beta: float = 1.0,
        log_min: float = -50.0,
        log_max: float = 200.0,
    ) -> None:
        names = [term.name for term, _ in terms]
        if len(set(names)) < len(names):
            raise RewardParameterError(f"expected each reward once, got {', '.join(names)}")
        if not log_min < log_max:
            raise RewardParameterError(f"expected log_min < log_max, got {log_min} and {log_max}")
        self.terms = list(terms)
        self.beta = beta
        self.log_min = log_min
        self.log_max = log_max

    def __call__(self, batch: Compositions) -> RewardValues:
        """Rewards of a batch with all their parts.

        Raises:
            RewardContractError: when a term returns the wrong shape or type.
        """
        log_reward = np.zeros(len(batch))
        valid = np.ones(len(batch), dtype=np.bool_)
        values, log_scores = {}, {}
        for term, shape in self.terms:
            result = evaluate_term(term, batch)
            with np.errstate(invalid="ignore", over="ignore"):
                score = self.beta * np.where(result.valid, shape(result.values), np.nan)
                log_reward += score
            valid &= result.valid
            values[term.name], log_scores[term.name] = result, score
        valid &= ~np.isnan(log_reward)
        return RewardValues(np.clip(log_reward, self.log_min, self.log_max), valid, values, log_scores)


def evaluate_term(term: RewardTerm, batch: Compositions) -> TermValues:
    """Calls a term and checks what it returns.

    Values that are not finite become invalid. An exception is narrowed down to the items that cause it, by halving the
    batch: they become invalid, with the exception as their reason, and the other items keep their values.

    Raises:
        RewardContractError: naming what was expected and what arrived.
        OreflowError: as the term itself raises it, such as a model without weights.
    """
    try:
        result = term(batch)
    except OreflowError:
        raise
    except Exception as error:
        return _isolate(term, batch, error)
    return _checked(term, result, len(batch))


def _isolate(term: RewardTerm, batch: Compositions, error: Exception) -> TermValues:
    if isinstance(error, ValueError) and "read-only" in str(error):
        complaint = "changes its input, which is read-only; work on a copy"
        raise RewardContractError(f"reward {term.name!r} {complaint}") from error
    n = len(batch)
    if n <= 1:
        reason = f"{type(error).__name__}: {error}"
        return TermValues(np.full(n, np.nan), np.zeros(n, dtype=np.bool_), reasons={0: reason})
    parts = [evaluate_term(term, half) for half in (batch[: n // 2], batch[n // 2 :])]
    columns = {}
    for name in {name: None for part in parts for name in part.columns}:
        kept = [part.columns.get(name) for part in parts]
        empty = np.nan if all(k is None or k.dtype.kind == "f" for k in kept) else None
        columns[name] = np.concatenate([np.full(len(p.values), empty) if k is None else k for p, k in zip(parts, kept)])
    return TermValues(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.valid for part in parts]),
        columns,
        parts[0].reasons | {row + n // 2: reason for row, reason in parts[1].reasons.items()},
    )


def _checked(term: RewardTerm, result: TermValues, n: int) -> TermValues:
    if not isinstance(result, TermValues):
        raise RewardContractError(f"reward {term.name!r}: expected TermValues, got {type(result).__name__}")
    try:
        values, valid = np.asarray(result.values), np.asarray(result.valid)
        columns = {name: np.asarray(column) for name, column in result.columns.items()}
        reasons = dict(result.reasons)
    except Exception as error:
        raise RewardContractError(f"reward {term.name!r}: expected arrays and dictionaries, got {error}") from error
    if values.shape != (n,) or valid.shape != (n,):
        raise RewardContractError(
            f"reward {term.name!r}: expected values and valid of shape {(n,)}, got {values.shape} and {valid.shape}"
        )
    if not np.issubdtype(values.dtype, np.floating) or valid.dtype != np.bool_:
        raise RewardContractError(
            f"reward {term.name!r}: expected floating values and bool valid, got {values.dtype} and {valid.dtype}"
        )
    for name, column in columns.items():
        if column.shape != (n,):
            raise RewardContractError(
                f"reward {term.name!r}: expected column {name!r} of shape {(n,)}, got {column.shape}"
            )
    finite = np.isfinite(values)
    for row in np.flatnonzero(valid & ~finite).tolist():
        reasons.setdefault(row, f"value {values[row]}")
    return TermValues(values.astype(np.float64), valid & finite, columns, reasons)


def make_shape(kind: str, params: Mapping[str, Any]) -> Shape:
    """A shape by name.

    Raises:
        RewardParameterError: for an unknown kind or parameter, with near misses.
    """
    if not isinstance(kind, str) or kind not in SHAPES:
        raise RewardParameterError(f"expected the kind of a shape, got {kind!r}; {nearest(str(kind), SHAPES)}")
    accepted = inspect.signature(SHAPES[kind]).parameters
    for key in params:
        if key not in accepted:
            raise RewardParameterError(f"shape {kind!r} takes no parameter {key!r}; {nearest(key, accepted)}")
    missing = [key for key in accepted if key not in params]
    if missing:
        raise RewardParameterError(f"shape {kind!r} needs the parameter {', '.join(missing)}")
    return SHAPES[kind](**params)


def build(
    terms: Sequence[Mapping[str, Any]], *, beta: float = 1.0, log_min: float = -50.0, log_max: float = 200.0
) -> Reward:
    """A reward from plain data, as a config holds it.

        build([{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 8.0}}])

    Args:
        terms: mappings with `name`, `shape` (mapping with `kind` and its parameters) and optionally `params`.
    """
    pairs = []
    for entry in terms:
        shape = dict(entry["shape"])
        kind = shape.pop("kind", None)
        pairs.append((make_term(entry["name"], entry.get("params")), make_shape(kind, shape)))
    return Reward(pairs, beta=beta, log_min=log_min, log_max=log_max)
