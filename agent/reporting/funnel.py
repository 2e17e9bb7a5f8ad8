"""How many candidates are left after each wish, and one line on whether they are worth reading."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.agent.evaluation.satisfaction import reading_verdict, satisfied, wish_in_words
from oreflow.agent.reporting.sources import Source, TermColumn
from oreflow.envs.arrays import Bools
from oreflow.rewards.reference.hull_holes import LOWEST_TRUSTED

_FLAGS = (
    ("charge_neutral", "charge-neutral"),
    ("electronegativity_ok", "electronegativity-balanced"),
    ("is_unique", "first of their kind (unique)"),
    ("is_novel", "not in the reference (novel)"),
)

_TERM_OF = {"electronegativity_ok": "electronegativity_balance", "is_novel": "novelty"}  # which says the same


@dataclass(frozen=True)
class Line:
    """One line of the funnel: what is asked, and of each source a number.

    Attributes:
        shares: of the rows, one a source; None where a source cannot say.
        medians: of the term, in its unit; None for a line that has none.
    """

    title: str
    wish: str
    shares: tuple[float | None, ...]
    medians: tuple[float | None, ...] = ()


def meets(source: Source, term: TermColumn) -> Bools | None:
    """Which rows satisfy a term, bool [row]; None without a threshold, or without the term's column."""
    values = source.numbers(term.scored)
    return None if values is None or not term.shape else satisfied(term.shape, values)


def meets_all(source: Source) -> Bools | None:
    """Which rows satisfy every term that has a threshold, bool [row]; None where none has."""
    verdicts = [verdict for term in source.terms if (verdict := meets(source, term)) is not None]
    return np.logical_and.reduce(verdicts) if verdicts else None


def funnel(sources: list[Source]) -> list[Line]:
    """Lines for each term of any source, for all together, and for what else the tables say of their rows."""
    lines: list[Line] = []
    names = list(dict.fromkeys(term.name for source in sources for term in source.terms))
    for name in names:
        terms = [next((term for term in source.terms if term.name == name), None) for source in sources]
        wishes = dict.fromkeys(wish_in_words(term.shape, term.unit) for term in terms if term and term.shape)
        title = next(term.title for term in terms if term)
        yes_or_no = all(term is None or term.shape.get("kind") == "verdict" for term in terms)
        medians = () if yes_or_no else tuple(_median(source, term) for source, term in zip(sources, terms))
        shares = tuple(None if term is None else _share(meets(source, term)) for source, term in zip(sources, terms))
        lines.append(Line(title, " or ".join(wishes), shares, medians))
    everything = tuple(_share(meets_all(source)) for source in sources)
    if any(share is not None for share in everything):
        lines.append(Line("all of these thresholds", "", everything))
    for column, title in _FLAGS:
        if _TERM_OF.get(column) in names:
            continue
        shares = tuple(_share(flags(source, column)) for source in sources)
        if any(share is not None for share in shares):
            lines.append(Line(title, "", shares))
    return lines + _further(sources)


def _further(sources: list[Source]) -> list[Line]:
    """What nobody asks for and everybody wants to know: elements a formula, and rows that lie in holes of the hull."""
    further = []
    numbers = tuple(source.numbers("nelements") for source in sources)
    if any(values is not None and len(values) for values in numbers):
        medians = tuple(None if values is None else float(np.nanmedian(values)) for values in numbers)
        further.append(Line("elements a formula", "", (None,) * len(sources), medians))
    far = tuple(_share(_far_below(source)) for source in sources)
    if any(share is not None for share in far):
        wish = "the reference is likely to lack competing compounds there"
        further.append(Line(f"more than {-LOWEST_TRUSTED:g} eV/atom below the hull", wish, far))
    return further


def _far_below(source: Source) -> Bools | None:
    """Which rows lie further below the hull than is to be trusted; None where no column says how far above it."""
    for name in ("energy_above_hull_ev_per_atom", "crystal_energy_above_hull_ev_per_atom"):
        values = source.numbers(name)
        if values is not None:
            return np.asarray(values < LOWEST_TRUSTED)
    return None


def flags(source: Source, column: str) -> Bools | None:
    """A column of truth values, missing ones counted as false; None where there is none, or nothing in it."""
    if column not in source.rows.columns or not source.rows[column].notna().any():
        return None
    return np.array([cell is True or cell == 1 or cell == "True" for cell in source.rows[column].tolist()], dtype=bool)


def verdict(source: Source) -> str:
    """One line: whether the candidates are worth reading, and what to change where they are not."""
    shares = {term.name: _share(meets(source, term)) for term in source.terms}
    spread = source.summary.get("log_reward_minus_log_pf_std")
    return reading_verdict(
        len(source.rows),
        shares,
        _share(meets_all(source)),
        spread if isinstance(spread, int | float) else None,
    )


def _share(verdict: Bools | None) -> float | None:
    return None if verdict is None or not len(verdict) else float(verdict.mean())


def _median(source: Source, term: TermColumn | None) -> float | None:
    values = None if term is None else source.numbers(term.column)
    return None if values is None else float(np.nanmedian(values))


def as_plain(lines: list[Line], sources: list[Source]) -> list[Mapping[str, Any]]:
    """The funnel as plain data for `--json`."""
    return [
        {
            "line": line.title,
            "wish": line.wish,
            "of": {
                source.label: {"share": share} | ({"median": median} if line.medians else {})
                for source, share, median in zip(sources, line.shares, line.medians or (None,) * len(sources))
            },
        }
        for line in lines
    ]
