"""What a figure shows, before anybody draws it: the page draws it with plotly, `--figures` with matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# Okabe and Ito's colours without black, which a dark page would hide; each with a marker and a line of its own.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GREY = "#8a8a8a"
FURNITURE = -1
"""Look of what is no data: axes of a triangle, the line of equality."""


@dataclass(frozen=True)
class Series:
    """One row of points, bars or steps, or a line with its band.

    Attributes:
        kind: `steps` is the outline of a histogram, whose x are the edges, one more than y.
        look: which colour, marker and line; `FURNITURE` for grey.
        low, high: ends of a band around y; empty for none.
        hover: what a pointer sees at each point.
        labels: what stands beside each point.
        shades, shade_label: a number that colours each point, and what it is.
        shade_range: the numbers at the two ends of the scale of colours.
    """

    kind: Literal["line", "points", "bars", "steps"]
    x: Sequence[Any]
    y: Sequence[float]
    name: str = ""
    look: int = 0
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    hover: Sequence[str] = ()
    labels: Sequence[str] = ()
    shades: Sequence[float] = ()
    shade_range: tuple[float, float] = (0.0, 0.0)
    shade_label: str = ""
    small: bool = False


@dataclass(frozen=True)
class Cell:
    """One square of a map: where, its percentage (0 for none), what stands in it."""

    column: int
    row: int
    value: float
    text: str
    hover: str


@dataclass(frozen=True)
class Figure:
    """A figure with its words.

    Attributes:
        key: names its files; letters, digits and underscores.
        caption: what to see in it, and how it was made.
        cells, cell_label: of a map of squares, which has no series; and what their numbers are.
        bare: whether axes are left out, as around a triangle.
        equal: whether a unit is as long across as up.
    """

    key: str
    title: str
    caption: str
    x_label: str = ""
    y_label: str = ""
    series: Sequence[Series] = ()
    cells: Sequence[Cell] = ()
    cell_label: str = ""
    y_log: bool = False
    bare: bool = False
    equal: bool = False


@dataclass(frozen=True)
class Section:
    """Figures that belong together, under one heading.

    Attributes:
        note: why there is none, or what holds for all; "" for nothing to say.
    """

    key: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    note: str = ""
