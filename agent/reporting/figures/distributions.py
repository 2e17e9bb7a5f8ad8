"""How the values of each term are spread among candidates, random objects and known compounds."""

from collections.abc import Mapping, Sequence

import numpy as np

from oreflow.agent.reporting.figures.spec import Figure, Section, Series
from oreflow.agent.reporting.sources import Source, TermColumn
from oreflow.envs.arrays import Floats

_BINS = 40
_MOST_COLUMNS = 8  # of a table without terms
_CUT, _CUT_RANDOM = 0.002, 0.1  # shares of values at either end that do not widen the axis
_RANDOM = "random objects"
# Columns that number or count rows, and say nothing of a candidate.
_NO_PROPERTY = ("candidate_id", "nelements", "nsites", "space_group_number", "n_times_sampled", "is_unique")
Comparison = Mapping[str, Mapping[str, Floats]]


def distributions(sources: Sequence[Source], compared: Sequence[tuple[Comparison, str]]) -> Section:
    """A histogram for each term; of tables without terms, for each of their first columns of numbers.

    Args:
        compared: of each source the values of random and known objects by term, and what is to be said of them.
    """
    terms = {term.name: term for source in sources for term in source.terms if term.column is not None}
    if not terms:
        terms = {name: TermColumn(name, "", name, name) for source in sources for name in _numeric(source)}
    figures = [figure for term in terms.values() if (figure := _histogram(term, sources, compared)) is not None]
    note = " ".join(dict.fromkeys(said for _, said in compared if said))
    return Section("distributions", "Distributions", figures, note)


def _numeric(source: Source) -> list[str]:
    names = []
    for name in source.rows.columns:
        values = None if name in _NO_PROPERTY or source.rows[name].dtype.kind not in "fiu" else source.numbers(name)
        if values is not None and np.nanmin(values) < np.nanmax(values):
            names.append(str(name))
    return names[:_MOST_COLUMNS]


def _histogram(
    term: TermColumn, sources: Sequence[Source], compared: Sequence[tuple[Comparison, str]]
) -> Figure | None:
    """Shares of objects in equal bins; None where nobody has a value."""
    parts: list[tuple[str, Floats]] = []
    for source in sources:
        own = next((other for other in source.terms if other.name == term.name), term)
        values = source.numbers(own.column)
        if values is not None:
            parts.append((source.label if len(sources) > 1 else "candidates", values[np.isfinite(values)]))
    for kind, title in (("random", _RANDOM), ("known", "known compounds")):
        for (values_of, _), source in zip(compared, sources):
            values = values_of.get(kind, {}).get(term.name)
            if values is not None and len(values):
                parts.append((title + (f" ({source.label})" if len(sources) > 1 else ""), values[np.isfinite(values)]))
    parts = [(name, values) for name, values in parts if len(values)]
    if not parts:
        return None
    if all(np.isin(values, (0.0, 1.0)).all() for _, values in parts):
        return _verdicts(term, parts)
    cuts = [_CUT_RANDOM if name.startswith(_RANDOM) else _CUT for name, _ in parts]
    low = min(float(np.quantile(values, cut)) for (_, values), cut in zip(parts, cuts))
    high = max(float(np.quantile(values, 1 - cut)) for (_, values), cut in zip(parts, cuts))
    if low == high:
        low, high = low - 0.5, high + 0.5
    together = np.unique(np.concatenate([values for _, values in parts]))
    if len(together) <= 12 and np.allclose(together, np.round(together)):
        edges = np.arange(np.floor(low) - 0.5, np.ceil(high) + 1)  # counts and verdicts
    else:
        edges = np.linspace(low, high, _BINS + 1)
    series = []
    for look, (name, values) in enumerate(parts):
        inside = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
        series.append(Series("steps", edges.tolist(), (inside / len(values)).tolist(), name, look))
    medians = "; ".join(f"{name} {np.median(values):.4g}" for name, values in parts)
    title = term.name.replace("_", " ")
    return Figure(
        f"distribution_{term.name}",
        title[0].upper() + title[1:],
        f"Medians: {medians}. Values beyond the axis are counted in the outermost bins.",
        term.title,
        "share of objects",
        series,
    )


def _verdicts(term: TermColumn, parts: Sequence[tuple[str, Floats]]) -> Figure:
    """A bar for each answer and kind of object."""
    series = [
        Series("bars", ["no", "yes"], [float((values == 0).mean()), float((values == 1).mean())], name, look)
        for look, (name, values) in enumerate(parts)
    ]
    said = "; ".join(f"{name} {(values == 1).mean():.1%}" for name, values in parts)
    title = term.name.replace("_", " ")
    return Figure(
        f"distribution_{term.name}", title[0].upper() + title[1:], f"Yes: {said}.", "", "share of objects", series
    )
