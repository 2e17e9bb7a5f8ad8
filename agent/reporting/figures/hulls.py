"""Convex hulls of the chemical systems that the candidates lie in most often."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from oreflow.agent.reporting.comparisons import Known
from oreflow.agent.reporting.figures.learning import formulas
from oreflow.agent.reporting.figures.spec import FURNITURE, Figure, Section, Series
from oreflow.agent.reporting.sources import Source
from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import electronegativities, symbols
from oreflow.envs.objects.compositions import Compositions

_EACH = 2  # diagrams of two elements, and of three
_MOST_LABELS = 9  # phases of a hull beside which a name has room
_MOST_DRAWN = 400  # candidates in one
_ENERGY = "formation_energy_per_atom_pred"
_ON_HULL = 1e-9  # eV/atom, rounding
_LEAST_SHADE_EV_PER_ATOM = 0.05  # end of the scale of colours, however near the hull all are
_HEIGHT = np.sqrt(3) / 2


def hull_section(sources: Sequence[Source], known: Known | None) -> Section:
    """Diagrams of the most frequent systems of two and of three elements, of each source."""
    figures = [figure for i, source in enumerate(sources) for figure in _of_source(source, known, i)]
    if not figures:
        return Section(
            "hulls", "Convex hulls", note="No candidate of two or three elements has a formation energy, or none occur."
        )
    note = (
        "The hull is that of the energies in the reference; candidates stand at their predicted formation energies."
        if known is not None and known.phases is not None
        else "Without a --reference that holds formation energies, the hull is that of the candidates themselves and "
        "the elements: it says which candidate undercuts which, and nothing of known compounds."
    )
    return Section("hulls", "Convex hulls", figures, note)


def _of_source(source: Source, known: Known | None, number: int) -> list[Figure]:
    energies = source.numbers(_ENERGY)
    energies = source.numbers("formation_energy_per_atom") if energies is None else energies
    if energies is None or source.compositions is None:
        return []
    found = []
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, zs in enumerate(source.compositions.atomic_numbers.tolist()):
        if np.isfinite(energies[row]):
            rows_of.setdefault(tuple(z for z in zs if z), []).append(row)
    for n_elements, draw in ((2, _binary), (3, _ternary)):
        counts = Counter({system: len(rows) for system, rows in rows_of.items() if len(system) == n_elements})
        frequent = [system for system, n in counts.most_common(_EACH) if n > 1] or [s for s, _ in counts.most_common(1)]
        for system in map(_as_written, frequent):
            phases = _phases(system, known, source, energies)
            rows = [row for other, rows in rows_of.items() if set(other) <= set(system) for row in rows]
            found.append(draw(source, system, sorted(rows)[:_MOST_DRAWN], energies, phases, number))
    return found


def _as_written(system: tuple[int, ...]) -> tuple[int, ...]:
    """Elements in the order of formulas: by electronegativity, those without one last."""
    scale = electronegativities()
    return tuple(sorted(system, key=lambda z: (bool(np.isnan(scale[z])), float(np.nan_to_num(scale[z])))))


def _name(entry: Any) -> str:
    """A phase by its formula, an element by its symbol."""
    composition = entry.composition
    return str(composition.elements[0].symbol if len(composition) == 1 else composition.reduced_formula)


def _labels(names: Sequence[str]) -> list[str]:
    """What stands beside the phases of a hull: all names where there is room, else those of the elements."""
    crowded = len(names) > _MOST_LABELS
    return ["" if crowded and name not in symbols() else name for name in names]


def _phases(system: tuple[int, ...], known: Known | None, source: Source, energies: Floats) -> Any:
    """pymatgen's phase diagram of the known phases of a system, the elements at 0; else of the candidates in it."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    if known is not None and known.phases is not None:
        compositions, values = known.phases.compositions, known.phases.energies
    else:
        assert source.compositions is not None
        compositions, values = source.compositions, energies
    inside = np.isin(compositions.atomic_numbers, [0, *system]).all(axis=1) & np.isfinite(values)
    entries = [PDEntry(Composition(symbols()[z]), 0.0) for z in system]
    for row in np.flatnonzero(inside & (compositions.n_elements > 1)).tolist():
        amounts = _amounts(compositions, row)
        entries.append(PDEntry(Composition(amounts), float(values[row]) * sum(amounts.values())))
    return PhaseDiagram(entries)


def _amounts(compositions: Compositions, row: int) -> dict[str, int]:
    zs, counts = compositions.atomic_numbers[row].tolist(), compositions.counts[row].tolist()
    return {symbols()[z]: n for z, n in zip(zs, counts) if z}


def _fractions(compositions: Compositions, rows: Sequence[int], system: tuple[int, ...]) -> Floats:
    """Atomic fractions of the elements of a system, float64 [row, element]."""
    found = [[_amounts(compositions, row).get(symbols()[z], 0) for z in system] for row in rows]
    counts = np.array(found, dtype=np.float64).reshape(len(rows), len(system))
    fractions: Floats = counts / counts.sum(axis=1, keepdims=True)
    return fractions


def _above(diagram: Any, source: Source, rows: Sequence[int], energies: Floats) -> Floats:
    """Energy of candidates above the hull of a diagram, eV/atom, negative below it."""
    from pymatgen.core import Composition

    assert source.compositions is not None
    on_hull = [diagram.get_hull_energy_per_atom(Composition(_amounts(source.compositions, row))) for row in rows]
    above: Floats = energies[list(rows)] - np.array(on_hull)
    return above


def _entry_fractions(entries: Sequence[Any], system: tuple[int, ...]) -> Floats:
    found = [[entry.composition.get_atomic_fraction(symbols()[z]) for z in system] for entry in entries]
    return np.array(found, dtype=np.float64).reshape(len(entries), len(system))


def _binary(
    source: Source, system: tuple[int, ...], rows: list[int], energies: Floats, diagram: Any, number: int
) -> Figure:
    stable = list(diagram.stable_entries)
    x = _entry_fractions(stable, system)[:, 1]
    order = np.argsort(x)
    y = np.array([entry.energy_per_atom for entry in stable])
    names = [_name(stable[i]) for i in order.tolist()]
    ours = _fractions(source.compositions, rows, system)[:, 1]  # type: ignore[arg-type]
    shown, above = formulas(source), _above(diagram, source, rows, energies)
    hover = [f"{shown[row]}: {energies[row]:.3f} eV/atom, {a:+.3f} above the hull" for row, a in zip(rows, above)]
    a, b = (symbols()[z] for z in system)
    return Figure(
        f"hull_{number}_{a}_{b}",
        f"{a}-{b}",
        _counted(source, above) + ".",
        f"fraction of {b}",
        "formation energy / eV per atom",
        [
            Series("line", x[order].tolist(), y[order].tolist(), "", FURNITURE),
            Series("points", x[order].tolist(), y[order].tolist(), "hull", 1, hover=names, labels=_labels(names)),
            Series("points", ours.tolist(), energies[rows].tolist(), "candidates", 0, hover=hover),
        ],
    )


def _ternary(
    source: Source, system: tuple[int, ...], rows: list[int], energies: Floats, diagram: Any, number: int
) -> Figure:
    stable = sorted(diagram.stable_entries, key=_name)
    places = _triangle(_entry_fractions(stable, system))
    names = [_name(entry) for entry in stable]
    series = []
    every = _triangle(_entry_fractions(diagram.qhull_entries, system))
    for i, j in sorted({tuple(sorted((f[a], f[b]))) for f in diagram.facets for a, b in ((0, 1), (1, 2), (0, 2))}):
        line = every[[i, j]]
        series.append(Series("line", line[:, 0].tolist(), line[:, 1].tolist(), "", FURNITURE))
    x, y, labels = places[:, 0].tolist(), places[:, 1].tolist(), _labels(names)
    series.append(Series("points", x, y, "hull", 1, hover=names, labels=labels))
    ours = _triangle(_fractions(source.compositions, rows, system))  # type: ignore[arg-type]
    shown, above = formulas(source), _above(diagram, source, rows, energies)
    hover = [f"{shown[row]}: {a:+.3f} eV/atom above the hull" for row, a in zip(rows, above)]
    ends = min(0.0, float(above.min())), max(_LEAST_SHADE_EV_PER_ATOM, float(above.max()))
    shades = {"shades": above.tolist(), "shade_range": ends, "shade_label": "eV/atom above the hull"}
    series.append(Series("points", ours[:, 0].tolist(), ours[:, 1].tolist(), "candidates", 0, hover=hover, **shades))
    label = "-".join(symbols()[z] for z in system)
    return Figure(
        f"hull_{number}_{label.replace('-', '_')}",
        label,
        _counted(source, above) + "; lines join phases that exist side by side. Point at one for its name.",
        series=series,
        bare=True,
        equal=True,
    )


def _counted(source: Source, above: Floats) -> str:
    n = len(above)
    what = "1 candidate" if n == 1 else f"{n} candidates"
    return f"{what} of {source.label}, {int((above <= _ON_HULL).sum())} of them on or below the hull"


def _triangle(fractions: Floats) -> Floats:
    """Points of an equilateral triangle, float64 [row, 2]; the third element at the top."""
    at: Floats = np.stack([fractions[:, 1] + fractions[:, 2] / 2, fractions[:, 2] * _HEIGHT], axis=1)
    return at
