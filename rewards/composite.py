"""Several terms and their shapes as one log-reward, with every part kept beside the total."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.registry import STRUCTURE
from oreflow.envs.suggestions import nearest
from oreflow.rewards.contract.cache import CachedTerm
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import SCORED, Batch, RewardTerm, TermValues
from oreflow.rewards.contract.term import Term, as_term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.executors.settings import ExecutorSettings
from oreflow.rewards.registry import check_parameters, is_built_in, make_term
from oreflow.rewards.shaping import SHAPES, Shape


@dataclass(frozen=True)
class RewardValues:
    """A batch's rewards.

    Attributes:
        log_reward: float64 [batch]; NaN where invalid.
        valid: bool [batch], False where any term has no value.
        terms: each term's own values, by name.
        log_scores: each term's share of log R, float64 [batch], by name; they sum to log R where no bound cuts it.
        bounded: bool [batch], True where the floor or the ceiling of log R cuts the sum.
        log_labelings: float64 [batch], log of the number of terminal states that are each object, where the caller has
            filled it in; 0 otherwise, which is right wherever an object is one state.
        log_decoration: float64 [batch], the part of log R that reads no geometry: the sum of the log-scores of terms of
            compositions and of decorations. What bounds cut is left to the rest.
    """

    log_reward: Floats
    valid: Bools
    terms: dict[str, TermValues]
    log_scores: dict[str, Floats]
    bounded: Bools
    log_labelings: Floats | float = 0.0
    log_decoration: Floats | float = 0.0

    @property
    def log_share(self) -> Floats:
        """log R of a terminal state: the object's, shared out evenly among the states that it is."""
        share: Floats = self.log_reward - self.log_labelings
        return share

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
            raise RewardParameterError(f"expected each reward once, got {', '.join(names)}; tell them apart by a label")
        if not log_min < log_max:
            raise RewardParameterError(f"expected log_min < log_max, got {log_min} and {log_max}")
        self.terms = [(as_term(term), shape) for term, shape in terms]
        self.beta = beta
        self.log_min = log_min
        self.log_max = log_max

    def __call__(self, batch: Batch) -> RewardValues:
        """Rewards of a batch of compositions or crystals with all their parts.

        Raises:
            RewardContractError: when a term returns the wrong shape or type.
        """
        log_reward = np.zeros(len(batch))
        valid = np.ones(len(batch), dtype=np.bool_)
        values, log_scores = {}, {}
        log_decoration = np.zeros(len(batch))
        for term, shape in self.terms:
            result = evaluate_term(term, batch)
            with np.errstate(invalid="ignore", over="ignore"):
                score = self.beta * np.where(result.valid, shape(scored_values(result)), np.nan)
                log_reward += score
                if term.requires != STRUCTURE or not term.needs_geometry:
                    log_decoration += score
            valid &= result.valid
            values[term.name], log_scores[term.name] = result, score
        valid &= ~np.isnan(log_reward)
        bounded = valid & ((log_reward < self.log_min) | (log_reward > self.log_max))
        cut = np.clip(log_reward, self.log_min, self.log_max)
        return RewardValues(cut, valid, values, log_scores, bounded, log_decoration=log_decoration)

    def describe(self) -> dict[str, Any]:
        """What log R is made of, as plain data for records."""
        terms = [
            {"name": t.name, "version": t.version, "unit": t.unit, "citations": list(t.citations)}
            for t, _ in self.terms
        ]
        return {"beta": self.beta, "log_min": self.log_min, "log_max": self.log_max, "terms": terms}

    @property
    def nondeterministic(self) -> list[str]:
        """Names of the terms found to answer the same question differently."""
        return [term.name for term, _ in self.terms if not term.deterministic]


def scored_values(result: TermValues) -> Floats:
    """What a shape is applied to, float64 [batch].

    That is a column whose name ends in `_scored` where the term gives one, else its values.
    """
    return next((column for name, column in result.columns.items() if name.endswith(SCORED)), result.values)


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


def build_term(
    entry: Mapping[str, Any], executor: ExecutorSettings | None = None, store: str | None = None
) -> tuple[Term, Shape]:
    """A term and its shape from plain data.

    Args:
        entry: `name`, `shape` (a mapping with `kind` and its parameters), and optionally `params`, `isolated`
            (in worker processes: `workers` of them, `time_limit_s` for a formula), `cache` (None: all terms but
            those that ship with oreflow, which are faster than the look-up), `label` (its name in this reward, so
            that one term can occur twice), and `cost` (of one value, in any unit).
        executor: where isolated terms live; by default in processes of this machine.
        store: path or URL of a reward store, for every term that is cached.

    Raises:
        RewardParameterError, UnknownRewardError: for what cannot be made.
        StoreError: when the store cannot be used.
    """
    shape = dict(entry["shape"])
    kind = shape.pop("kind", None)
    made_shape = make_shape(kind, shape)  # before the term, which may take long
    name, params = entry["name"], entry.get("params")
    if entry.get("isolated"):
        from oreflow.rewards.isolation.term import IsolatedTerm

        options = {key: entry[key] for key in ("time_limit_s", "workers") if entry.get(key) is not None}
        check_parameters(name, params)
        term: Term = IsolatedTerm(name, params, executor=executor, **options)
    else:
        term = make_term(name, params)
    remember, label = entry.get("cache"), entry.get("label")
    if label and is_built_in(name):
        term.name = label  # its columns are called after it
    if is_built_in(name) and not entry.get("isolated") and not remember:
        return term, made_shape
    if store is not None and remember is not False:
        from oreflow.rewards.store.identity import identity_of
        from oreflow.rewards.store.opened import stored

        term = stored(term, store, identity_of(name, params, term), entry.get("cost"))
    cached = CachedTerm(term, remember=remember is None or remember)
    cached.name = label or cached.name
    return cached, made_shape


def build(
    terms: Sequence[Mapping[str, Any]],
    *,
    beta: float = 1.0,
    log_min: float = -50.0,
    log_max: float = 200.0,
    store: str | None = None,
) -> Reward:
    """A reward from plain data, as a config holds it.

        build([{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 8.0}}])

    Args:
        terms: mappings as `build_term` takes them.
        store: path or URL of a reward store.
    """
    return Reward([build_term(entry, store=store) for entry in terms], beta=beta, log_min=log_min, log_max=log_max)
