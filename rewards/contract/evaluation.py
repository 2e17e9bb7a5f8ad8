"""One call of a reward term, held to its contract: shapes, types, finite values, exceptions narrowed to their items."""

import traceback

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.errors import OreflowError
from oreflow.rewards.contract.batches import as_batch_type, as_required
from oreflow.rewards.contract.guard import guarded, report
from oreflow.rewards.contract.protocol import Batch, RewardTerm, TermValues
from oreflow.rewards.contract.term import PlainTerm, Term, as_term
from oreflow.rewards.errors import RewardContractError

_COLUMN_KINDS = "fiubUSMmO"
_OWN_FILES = (__file__, PlainTerm.__call__.__code__.co_filename)


def evaluate_term(term: RewardTerm, batch: Batch, *, watched: bool = True) -> TermValues:
    """Calls a term and checks what it returns.

    Of crystals a term that requires compositions gets those. Where a term requires structures, compositions and
    crystals without geometry become invalid.

    Values that are not finite become invalid. An exception (or `sys.exit`) is narrowed down to the items that cause
    it, by halving the batch: they become invalid, with the exception as their reason, and the others keep their values.

    Args:
        watched: whether side effects are undone and reported (`rewards.contract.guard`); a worker watches on its own.

    Raises:
        RewardContractError: naming what was expected and what arrived.
        OreflowError: as the term itself raises it, such as a model without weights.
    """
    term = as_term(term)
    usable, rows, reason = as_required(term, batch)
    if reason:
        if not len(rows):
            values, reasons = np.full(len(batch), np.nan), dict.fromkeys(range(len(batch)), reason)
            return TermValues(values, np.zeros(len(batch), dtype=np.bool_), reasons=reasons)
        lacking = dict.fromkeys(np.setdiff1d(np.arange(len(batch)), rows).tolist(), reason)
        return scatter(evaluate_term(term, usable, watched=watched), rows, len(batch), lacking)
    batch = usable
    try:
        result = call_guarded(term, batch) if watched else term(as_batch_type(term, batch))
    except (OreflowError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit and the like cost an item as any exception does
        caught = error
    else:
        return _checked(term, result, len(batch))
    return _isolate(term, batch, caught, watched)  # not while handling it: the halves' tracebacks would pile up


def call_guarded(term: Term, batch: Batch) -> TermValues:
    """Calls a term and puts back what it changes on the side; oreflow's own terms change nothing: not watched."""
    if type(term).__module__.startswith("oreflow.rewards.") and not isinstance(term, PlainTerm):
        return term(as_batch_type(term, batch))
    with guarded() as found:
        result = term(as_batch_type(term, batch))
    report(f"reward {term.name!r}", found)
    return result


def is_mutation(error: BaseException) -> bool:
    """Whether an exception comes from writing to a read-only array."""
    return isinstance(error, ValueError) and "read-only" in str(error)


def _isolate(term: Term, batch: Batch, error: BaseException, watched: bool) -> TermValues:
    if is_mutation(error):
        complaint = "changes its input, which is read-only; work on a copy"
        raise RewardContractError(f"reward {term.name!r} {complaint}") from error
    n = len(batch)
    if n <= 1:
        reason = said(error)
        text = _text_from_term_on(error)
        return TermValues(np.full(n, np.nan), np.zeros(n, dtype=np.bool_), reasons={0: reason}, tracebacks={0: text})
    return join([evaluate_term(term, half, watched=watched) for half in (batch[: n // 2], batch[n // 2 :])])


def said(error: BaseException) -> str:
    """Type and message of an exception, also of one that cannot say what it is."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__}, whose message cannot be shown"


def _text_from_term_on(error: BaseException) -> str:
    """The traceback without oreflow's own frames above the term's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in _OWN_FILES:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))


def join(parts: list[TermValues]) -> TermValues:
    """Values of consecutive parts of a batch as one; a column that a part lacks is empty there."""
    columns = {}
    for name in {name: None for part in parts for name in part.columns}:
        kept = [part.columns.get(name) for part in parts]
        empty = np.nan if all(k is None or k.dtype.kind == "f" for k in kept) else None
        columns[name] = np.concatenate([np.full(len(p.values), empty) if k is None else k for p, k in zip(parts, kept)])
    reasons: dict[int, str] = {}
    tracebacks: dict[int, str] = {}
    first = 0
    for part in parts:
        reasons |= {first + row: reason for row, reason in part.reasons.items()}
        tracebacks |= {first + row: text for row, text in part.tracebacks.items()}
        first += len(part.values)
    values = np.concatenate([part.values for part in parts])
    return TermValues(values, np.concatenate([part.valid for part in parts]), columns, reasons, tracebacks)


def scatter(result: TermValues, rows: Ints, n: int, reasons: dict[int, str]) -> TermValues:
    """Values of some rows as those of a batch of n, whose other rows are invalid for the given reasons.

    Args:
        rows: int64, where each value belongs, ascending.
    """
    values, valid = np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
    values[rows], valid[rows] = result.values, result.valid
    columns = {}
    for name, column in result.columns.items():
        kind = column.dtype.kind
        whole = np.full(n, np.nan if kind == "f" else None, dtype=column.dtype if kind == "f" else object)
        whole[rows] = column
        columns[name] = whole
    reasons = reasons | {int(rows[row]): reason for row, reason in result.reasons.items()}
    tracebacks = {int(rows[row]): text for row, text in result.tracebacks.items()}
    return TermValues(values, valid, columns, reasons, tracebacks)


def _checked(term: Term, result: TermValues, n: int) -> TermValues:
    if not isinstance(result, TermValues):
        raise RewardContractError(f"reward {term.name!r}: expected TermValues, got {type(result).__name__}")
    try:
        values, valid = np.asarray(result.values), np.asarray(result.valid)
        columns = {name: np.asarray(column) for name, column in result.columns.items()}
        reasons, tracebacks = dict(result.reasons), dict(result.tracebacks)
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
        if column.dtype.kind not in _COLUMN_KINDS:
            raise RewardContractError(
                f"reward {term.name!r}: expected column {name!r} of numbers, text or dates, got {column.dtype}"
            )
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite, which is what it is here
        values = values.astype(np.float64)
    valid = valid & ~(np.ma.getmask(result.values) | np.ma.getmask(result.valid))
    finite = np.isfinite(values)
    for row in np.flatnonzero(valid & ~finite).tolist():
        reasons.setdefault(row, f"value {values[row]}")
    return TermValues(values, valid & finite, columns, reasons, tracebacks)
