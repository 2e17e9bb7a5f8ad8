"""Figures for papers: the same as on the page, as PNG and SVG by matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.reporting.figures.spec import COLOURS, FURNITURE, GREY, Figure, Series

_MARKERS = ("o", "s", "^", "D", "X", "P")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (8, 2)), (0, (8, 2, 2, 2)))
_HATCHES = ("", "//", "\\\\", "xx", "..", "--")


def draw_static(figure: Figure, png: Path, svg: Path) -> None:
    """Draw a figure into two files, without its title, which belongs into a caption."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "oreflow", "text.parse_math": False}):
        canvas = Canvas(figsize=(9.0, 4.6) if figure.cells else (5.0, 3.8), layout="constrained")
        FigureCanvasAgg(canvas)
        panel = canvas.subplots()
        if figure.cells:
            _map(canvas, panel, figure)
        else:
            _series(canvas, panel, figure)
        canvas.savefig(png, format="png", dpi=200)
        canvas.savefig(svg, format="svg", metadata={"Date": None})


def _series(canvas: Any, panel: Any, figure: Figure) -> None:
    from matplotlib.ticker import NullFormatter

    n_bars = sum(series.kind == "bars" for series in figure.series)
    places: dict[str, int] = {}
    for i, series in enumerate(figure.series):
        if series.kind == "bars":
            _bars(panel, series, places, i, n_bars)
        else:
            _draw(canvas, panel, series)
    if places:
        panel.set_xticks(range(len(places)), list(places), rotation=60, ha="right", fontsize=7)
    panel.set_xlabel(figure.x_label)
    panel.set_ylabel(figure.y_label)
    if figure.y_log:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
    if figure.equal:
        panel.set_aspect("equal", adjustable="datalim")
    if figure.bare:
        panel.set_axis_off()
    if sum(bool(series.name) for series in figure.series) > 1:
        panel.legend(frameon=False, fontsize=8)


def _bars(panel: Any, series: Series, places: dict[str, int], i: int, n: int) -> None:
    for name in series.x:
        places.setdefault(str(name), len(places))
    at = np.array([places[str(name)] for name in series.x]) + (i - (n - 1) / 2) * 0.8 / n
    looks = {"color": COLOURS[series.look % len(COLOURS)], "hatch": _HATCHES[series.look % len(_HATCHES)]}
    panel.bar(at, series.y, width=0.8 / n, label=series.name or None, edgecolor="white", **looks)


def _draw(canvas: Any, panel: Any, series: Series) -> None:
    furniture = series.look == FURNITURE
    colour = GREY if furniture else COLOURS[series.look % len(COLOURS)]
    style = "-" if furniture else _LINES[series.look % len(_LINES)]
    label = series.name or None
    if series.kind == "line":
        panel.plot(series.x, series.y, color=colour, linestyle=style, linewidth=1 if furniture else 2, label=label)
        if len(series.low):
            panel.fill_between(series.x, series.low, series.high, color=colour, alpha=0.2, linewidth=0)
    elif series.kind == "steps":
        panel.stairs(series.y, series.x, color=colour, linestyle=style, linewidth=2, label=label)
    else:
        size = 6 if series.small else 30
        marker = "o" if furniture else _MARKERS[series.look % len(_MARKERS)]
        if len(series.shades):
            low, high = series.shade_range
            look: dict[str, Any] = {"cmap": "cividis", "vmin": low, "vmax": high, "s": size, "marker": marker}
            drawn = panel.scatter(series.x, series.y, c=series.shades, label=label, **look)
            canvas.colorbar(drawn, ax=panel, label=series.shade_label)
        else:
            panel.scatter(series.x, series.y, color=colour, s=size, marker=marker, label=label, linewidths=0)
        for i, (x, y, text) in enumerate(zip(series.x, series.y, series.labels)):
            up = {"xytext": (0, 5), "va": "bottom"} if i % 2 == 0 else {"xytext": (0, -5), "va": "top"}
            panel.annotate(text, (x, y), textcoords="offset points", ha="center", fontsize=7, **up)


def _map(canvas: Any, panel: Any, figure: Figure) -> None:
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import NullFormatter

    wide = max(cell.column for cell in figure.cells) + 1
    high = max(cell.row for cell in figure.cells) + 1
    values = np.full((high, wide), np.nan)
    for cell in figure.cells:
        values[cell.row, cell.column] = cell.value if cell.value > 0 else np.nan
    low = 10.0 ** np.floor(np.log10(np.nanmin(values, initial=100)))
    drawn = panel.imshow(values, cmap="cividis", norm=LogNorm(low, 100))
    bar = canvas.colorbar(drawn, ax=panel, label=figure.cell_label, shrink=0.7, format="{x:g}")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    for cell in figure.cells:
        ink = GREY if cell.value <= 0 else "white" if drawn.norm(cell.value) < 0.5 else "black"
        panel.text(cell.column, cell.row, cell.text, ha="center", va="center", fontsize=9, color=ink)
    panel.set_axis_off()
