"""Which elements the candidates are made of, and where they lie among known compounds."""

from collections.abc import Sequence

import numpy as np

from oreflow.agent.reporting.figures.learning import formulas
from oreflow.agent.reporting.figures.spec import Cell, Figure, Section, Series
from oreflow.agent.reporting.sources import Source
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.chemistry.elements import N_ELEMENTS, groups, symbols
from oreflow.envs.objects.compositions import Compositions

_LAST_OF_PERIOD = (2, 10, 18, 36, 54, 86, 118)
_LAST_SHOWN = 103  # grey where no candidate holds it; what is heavier only where one does
_SHOWN = 1500  # points of a kind on the map
_FITTED = 5000


def element_section(sources: Sequence[Source]) -> Section:
    """The periodic table, each element coloured by the share of candidates that contain it."""
    figures = [
        _periodic_table(source.compositions, source.label, f"elements_{i}")
        for i, source in enumerate(sources)
        if source.compositions is not None and len(source.compositions)
    ]
    return Section("elements", "Elements", figures, "" if figures else "The tables hold no formulas.")


def place_of(z: int) -> tuple[int, int]:
    """Column and row of an element in the table of eighteen columns; lanthanides and actinides in rows of their own."""
    period = next(i for i, last in enumerate(_LAST_OF_PERIOD) if z <= last)
    for first, row in ((57, 8), (89, 9)):
        if first <= z <= first + 14:
            return 3 + z - first, row
    return int(groups()[z]) - 1, period


def element_shares(compositions: Compositions) -> Floats:
    """Share of rows that contain each element, float64 [119] by atomic number."""
    numbers = compositions.atomic_numbers
    counts = np.bincount(numbers[numbers > 0].astype(np.int64), minlength=N_ELEMENTS + 1)
    shares: Floats = counts / max(len(compositions), 1)
    return shares


def _periodic_table(compositions: Compositions, label: str, key: str) -> Figure:
    shares = element_shares(compositions)
    cells = [
        Cell(*place_of(z), float(100 * shares[z]), symbols()[z], f"{symbols()[z]}: {shares[z]:.1%} of the candidates")
        for z in range(1, N_ELEMENTS + 1)
        if shares[z] > 0 or z <= _LAST_SHOWN
    ]
    most = np.argsort(-shares, kind="stable")[:5]
    listed = ", ".join(f"{symbols()[z]} {shares[z]:.0%}" for z in most.tolist() if shares[z] > 0)
    return Figure(
        key, label, f"Share of candidates that contain each element; most often {listed}. Grey elements are in none.",
        cells=cells, cell_label="% of candidates",
    )  # fmt: skip


def map_section(sources: Sequence[Source], known: Compositions | None) -> Section:
    """Candidates and known compounds in the two directions in which their element fractions differ most."""
    figures = [
        _map(source, known, i)
        for i, source in enumerate(sources)
        if source.compositions is not None and len(source.compositions) > 2
    ]
    note = "" if known is not None or not figures else "With --reference the map shows known compounds, too."
    return Section("map", "Map of compositions", figures, note if figures else "Too few formulas for a map.")


def element_fractions(compositions: Compositions) -> Floats:
    """Fractions of the atoms, float64 [row, 119] by atomic number."""
    out = np.zeros((len(compositions), N_ELEMENTS + 1))
    totals = compositions.counts.sum(axis=1, keepdims=True)
    rows = np.repeat(np.arange(len(compositions))[:, None], compositions.counts.shape[1], axis=1)
    np.add.at(out, (rows, compositions.atomic_numbers.astype(np.int64)), compositions.counts / totals)
    out[:, 0] = 0.0
    return out


def _map(source: Source, known: Compositions | None, number: int) -> Figure:
    assert source.compositions is not None
    rng = np.random.default_rng(0)
    ours = _some(len(source.compositions), _FITTED, rng)
    fractions = element_fractions(source.compositions[ours])
    others = np.empty((0, N_ELEMENTS + 1))
    if known is not None:
        present = np.unique(source.compositions.atomic_numbers)
        inside = np.flatnonzero(np.isin(known.atomic_numbers, [0, *present.tolist()]).all(axis=1))
        others = element_fractions(known[inside[_some(len(inside), _FITTED, rng)]])
    together = np.concatenate([fractions, others])
    centre = together.mean(axis=0)
    _, sizes, directions = np.linalg.svd(together - centre, full_matrices=False)
    share = sizes**2 / max(float((sizes**2).sum()), 1e-300)
    names = formulas(source)
    series = []
    if len(others):
        at = (others[:_SHOWN] - centre) @ directions[:2].T
        series.append(Series("points", at[:, 0].tolist(), at[:, 1].tolist(), "known compounds", 1, small=True))
    at = (fractions[:_SHOWN] - centre) @ directions[:2].T
    hover = [names[row] for row in ours[:_SHOWN].tolist()]
    series.append(Series("points", at[:, 0].tolist(), at[:, 1].tolist(), "candidates", 0, hover=hover, small=True))
    return Figure(
        f"map_{number}",
        source.label,
        f"Principal components of element fractions; together {share[:2].sum():.0%} of the variance. Each axis names "
        "the elements that it tells apart.",
        f"{_ends(directions[0])} ({share[0]:.0%})",
        f"{_ends(directions[1])} ({share[1]:.0%})",
        series,
    )


def _ends(direction: Floats) -> str:
    """The elements at either end of a component, such as "O, F ← → Cu"."""
    order = np.argsort(direction)
    least = [symbols()[z] for z in order[:2].tolist() if direction[z] < -0.2]
    most = [symbols()[z] for z in order[::-1][:2].tolist() if direction[z] > 0.2]
    return f"{', '.join(least) or 'less'} ← → {', '.join(most) or 'more'}"


def _some(n: int, most: int, rng: np.random.Generator) -> Ints:
    return rng.permutation(n)[:most]
