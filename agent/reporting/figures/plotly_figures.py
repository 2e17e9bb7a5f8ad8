"""Figures as plotly's own plain data, which the page hands to plotly.js."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from oreflow.agent.reporting.figures.spec import COLOURS, FURNITURE, GREY, Figure, Series

_MARKERS = ("circle", "square", "triangle-up", "diamond", "x", "cross")
_LINES = ("solid", "dash", "dashdot", "dot", "longdash", "longdashdot")


def plotly_figure(figure: Figure) -> dict[str, Any]:
    """Turn a figure into `data` and `layout` of plotly, without colours of the page, which its script sets.

    Texts that come from users are escaped: plotly reads some tags in them.
    """
    if figure.cells:
        return {
            "data": [_map(figure)],
            "layout": _layout(figure) | {"showlegend": False, "annotations": _empty(figure)},
        }
    data = [trace for series in figure.series for trace in _traces(series)]
    named = [series for series in figure.series if series.name]
    layout = _layout(figure) | {"showlegend": len(named) > 1, "barmode": "group"}
    return {"data": data, "layout": layout}


def plain(text: str) -> str:
    """Escape a text for plotly, which takes tags such as <b> and <a> for formatting."""
    return html.escape(text, quote=False)


def _layout(figure: Figure) -> dict[str, Any]:
    x: dict[str, Any] = {"title": {"text": plain(figure.x_label)}, "automargin": True, "zeroline": False}
    y: dict[str, Any] = {"title": {"text": plain(figure.y_label)}, "automargin": True, "zeroline": False}
    if figure.y_log:
        y |= {"type": "log", "exponentformat": "power"}
    if figure.bare:
        x |= {"visible": False}
        y |= {"visible": False}
    if figure.equal:
        y |= {"scaleanchor": "x", "scaleratio": 1}
    if figure.cells:
        y |= {"autorange": "reversed"}
    margin = {"l": 8, "r": 8, "t": 28, "b": 8} if figure.bare else {"l": 56, "r": 12, "t": 28, "b": 48}
    legend = {"orientation": "h", "y": -0.22, "x": 0}
    return {"xaxis": x, "yaxis": y, "margin": margin, "legend": legend, "hovermode": "closest", "dragmode": "zoom"}


def _map(figure: Figure) -> dict[str, Any]:
    """A heat map; squares without a number stay empty. Shares span decades, so that colours are of logarithms."""
    wide = max(cell.column for cell in figure.cells) + 1
    high = max(cell.row for cell in figure.cells) + 1
    values: list[list[float | None]] = [[None] * wide for _ in range(high)]
    texts = [[""] * wide for _ in range(high)]
    hover = [[""] * wide for _ in range(high)]
    for cell in figure.cells:
        if cell.value <= 0:
            continue
        values[cell.row][cell.column] = float(f"{np.log10(cell.value):.4g}")
        texts[cell.row][cell.column] = plain(cell.text)
        hover[cell.row][cell.column] = plain(cell.hover)
    return {
        "type": "heatmap",
        "z": values,
        "text": texts,
        "customdata": hover,
        "texttemplate": "%{text}",
        "hovertemplate": "%{customdata}<extra></extra>",
        "hoverongaps": False,
        "colorscale": "Cividis",
        "xgap": 2,
        "ygap": 2,
        "zmax": 2,
        "zmin": math.floor(min((row for line in values for row in line if row is not None), default=0)),
        "colorbar": {
            "title": {"text": plain(figure.cell_label), "side": "right"},
            "thickness": 12,
            "len": 0.9,
            "tickvals": list(range(-3, 3)),
            "ticktext": ["0.001", "0.01", "0.1", "1", "10", "100"],
        },
    }


def _empty(figure: Figure) -> list[dict[str, Any]]:
    """The squares whose number is 0: their text alone, in grey."""
    font = {"color": GREY, "size": 11}
    return [
        {"x": cell.column, "y": cell.row, "text": plain(cell.text), "showarrow": False, "font": font}
        for cell in figure.cells
        if cell.value <= 0
    ]


def _traces(series: Series) -> list[dict[str, Any]]:
    colour = GREY if series.look == FURNITURE else COLOURS[series.look % len(COLOURS)]
    named = {"name": plain(series.name), "showlegend": bool(series.name), "legendgroup": plain(series.name)}
    place = {"x": numbers(series.x), "y": numbers(series.y)}
    line = {"color": colour, "width": 2, "dash": _LINES[max(series.look, 0) % len(_LINES)]}
    hover: dict[str, Any] = {}
    if series.hover:
        hover = {"customdata": [plain(text) for text in series.hover], "hovertemplate": "%{customdata}<extra></extra>"}
    if series.kind == "bars":
        pattern = {"shape": ("", "/", "\\", "x", ".", "-")[max(series.look, 0) % 6], "solidity": 0.3}
        return [{"type": "bar", "marker": {"color": colour, "pattern": pattern}} | place | named | hover]
    if series.kind == "steps":
        edges, heights = list(series.x), list(series.y)
        place = {"x": numbers([edges[0], *edges]), "y": numbers([0, *heights, 0])}
        return [{"type": "scatter", "mode": "lines", "line": line | {"shape": "hv"}} | place | named]
    if series.kind == "line":
        if series.look == FURNITURE:
            line |= {"width": 1, "dash": "solid"}
            hover = hover or {"hoverinfo": "skip"}
        return [
            *_band(series, colour, named),
            {"type": "scatter", "mode": "lines", "line": line} | place | named | hover,
        ]
    marker: dict[str, Any] = {
        "color": colour,
        "symbol": _MARKERS[max(series.look, 0) % len(_MARKERS)],
        "size": 4 if series.small else 8,
        "opacity": 0.55 if series.small else 1.0,
    }
    if len(series.shades):
        bar: dict[str, Any] = {
            "title": {"text": plain(series.shade_label), "side": "right"},
            "thickness": 12,
            "len": 0.9,
        }
        line = {"color": GREY, "width": 1}  # the dark end of the scale is as dark as a dark page
        marker |= {
            "color": numbers(series.shades),
            "cmin": series.shade_range[0],
            "cmax": series.shade_range[1],
            "colorscale": "Cividis",
            "showscale": True,
            "colorbar": bar,
            "line": line,
        }
    mode = "markers+text" if len(series.labels) else "markers"
    text: dict[str, Any] = {}
    if len(series.labels):
        places = ["top center", "bottom center"] * -(-len(series.labels) // 2)
        text = {"text": [plain(label) for label in series.labels], "textposition": places, "cliponaxis": False}
    return [{"type": "scatter", "mode": mode, "marker": marker} | place | named | hover | text]


def _band(series: Series, colour: str, named: dict[str, Any]) -> list[dict[str, Any]]:
    if not len(series.low):
        return []
    x = list(series.x)
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return [
        {
            "type": "scatter",
            "x": numbers([*x, *x[::-1]]),
            "y": numbers([*series.high, *list(series.low)[::-1]]),
            "fill": "toself",
            "mode": "lines",
            "line": {"width": 0},
            "fillcolor": f"rgba({red},{green},{blue},0.2)",
            "hoverinfo": "skip",
            **named,
            "showlegend": False,
        }
    ]


def numbers(values: Sequence[Any]) -> list[Any]:
    """Plain numbers of six digits, None for what is missing; text stays, escaped."""
    out: list[Any] = []
    for value in values:
        if isinstance(value, str):
            out.append(plain(value))
        elif value is None or not np.isfinite(value):
            out.append(None)
        else:
            out.append(int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.6g}"))
    return out
