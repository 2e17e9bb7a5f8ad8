"""Space groups of the candidates, and the best of their structures to turn."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from oreflow.agent.reporting.figures.spec import COLOURS, GREY, Figure, Section, Series
from oreflow.agent.reporting.sources import Source
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.errors import StructureError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.envs.symmetry.space_groups import space_group

_MOST_GROUPS = 30
_MOST_ATOMS = 200  # of a picture
_BOND = 1.2  # times the sum of the covalent radii
_EDGE = 1e-3  # fractional coordinate from which on an atom lies on a face of the cell


def space_group_section(sources: Sequence[Source]) -> Section:
    """A bar for each space group, the most frequent ones first in order of number."""
    counts = [_groups(source) for source in sources]
    together = Counter[int]()
    for count in counts:
        together.update(count)
    if not together:
        return Section("space_groups", "Space groups", note="The tables hold no crystals.")
    shown = sorted(number for number, _ in together.most_common(_MOST_GROUPS))
    names = [f"{space_group(number).symbol} ({number})" for number in shown]
    series = []
    for look, (source, count) in enumerate(zip(sources, counts)):
        total = max(sum(count.values()), 1)
        series.append(Series("bars", names, [100 * count[n] / total for n in shown], source.label, look))
    rest = f"; the {len(shown)} most frequent ones are shown" if len(together) > len(shown) else ""
    caption = f"{len(together)} space groups in all{rest}."
    figure = Figure("space_groups", "Share of candidates", caption, "", "% of candidates", series)
    return Section("space_groups", "Space groups", [figure])


def _groups(source: Source) -> Counter[int]:
    values = source.numbers("space_group_number")
    return Counter() if values is None else Counter(values[np.isfinite(values)].astype(int).tolist())


def gallery(sources: Sequence[Source], most: int) -> list[dict[str, Any]]:
    """The first structures of the tables, as plotly's plain data to turn: atoms, bonds and the conventional cell.

    Args:
        most: of all sources together.
    """
    found = []
    each = max(most // max(len(sources), 1), 1)
    for source in sources:
        if "structure" not in source.rows.columns:
            continue
        seen: set[str] = set()
        for row, text in enumerate(source.rows["structure"].astype(str).tolist()[:500]):
            name = str(source.rows["formula_shown"].iloc[row])
            if len(seen) == each:
                break
            try:
                crystal = crystal_from_text([text])
            except StructureError:
                continue
            if not crystal.has_geometry[0] or name in seen:
                continue
            picture = _picture(crystal)
            if picture is None:
                continue
            seen.add(name)
            group = space_group(int(crystal.space_group[0]))
            found.append({"formula": name, "group": group.symbol, "source": source.label, "data": picture})
    return found


def _picture(crystal: Crystals) -> list[dict[str, Any]] | None:
    """Traces of one crystal; None for too many atoms."""
    atoms = crystal.atoms(primitive=False)
    vectors = atoms.vectors[0]
    fractional, numbers = _on_faces(atoms.fractional % 1.0, atoms.atomic_numbers.astype(int))
    if len(numbers) > _MOST_ATOMS:
        return None
    at = fractional @ vectors
    radii = np.nan_to_num(covalent_radii(), nan=1.5)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
    edges = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(corners[a] - corners[b]).sum() == 1]
    traces = [_lines([(corners[a] @ vectors, corners[b] @ vectors) for a, b in edges], GREY, 2)]
    distance = np.linalg.norm(at[:, None] - at[None], axis=2)
    near = distance < _BOND * (radii[numbers][:, None] + radii[numbers][None])
    if len(np.unique(numbers)) > 1:
        near &= numbers[:, None] != numbers[None]
    bonds = [(at[i], at[j]) for i, j in zip(*np.nonzero(np.triu(near, 1))) if distance[i, j] > 0.1]
    traces.append(_lines(bonds, "#b0b0b0", 6))
    for i, z in enumerate(np.unique(numbers).tolist()):
        own = at[numbers == z]
        traces.append(
            {
                "type": "scatter3d",
                "mode": "markers",
                "name": symbols()[z],
                "x": _rounded(own[:, 0]),
                "y": _rounded(own[:, 1]),
                "z": _rounded(own[:, 2]),
                "marker": {
                    "size": round(8 + 9 * float(radii[z]), 1),
                    "color": COLOURS[i % len(COLOURS)],
                    "line": {"width": 1, "color": "#222222"},
                },
                "hovertemplate": f"{symbols()[z]}<extra></extra>",
            }
        )
    return traces


def _on_faces(fractional: np.ndarray[Any, Any], numbers: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Atoms of a cell with their images on its other faces, so that the cell looks whole."""
    for axis in range(3):
        near = fractional[:, axis] < _EDGE
        far = fractional[:, axis] > 1 - _EDGE
        shift = np.eye(3)[axis]
        fractional = np.concatenate([fractional, fractional[near] + shift, fractional[far] - shift])
        numbers = np.concatenate([numbers, numbers[near], numbers[far]])
    return fractional, numbers


def _lines(pairs: Sequence[tuple[Any, Any]], colour: str, width: int) -> dict[str, Any]:
    """Unconnected lines as one trace."""
    ends = np.array([[a, b, np.full(3, np.nan)] for a, b in pairs]).reshape(-1, 3)
    places = {axis: _rounded(ends[:, i]) for i, axis in enumerate("xyz")}
    line = {"color": colour, "width": width}
    return {"type": "scatter3d", "mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False} | places


def _rounded(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 3) for value in values]
