"""Draw what seeds make of a training: the mean over seeds as a line, the range from smallest to largest as a band."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.evaluation.seed_groups import SeedGroup

# What each measure is called on an axis, with its unit; any other keeps its name.
LABELS = {
    "loss": "loss / nats²",
    "log_z": "learned log Z / nats",
    "mean_log_reward": "mean log R / nats",
    "share_unique": "distinct objects in a batch / share",
    "share_neutral": "neutral objects / share",
    "soft_return": "soft return / nats",
    "mean_square_advantage": "mean squared advantage / nats²",
    "exact_total_variation": "exact total variation / share of draws",
    "exact_total_variation_worst": "exact total variation,\nworst group / share of draws",
    "top_log_reward": "mean of the 100 largest log R / nats",
    "rank_correlation": "rank correlation of log P\nwith the target / 1",
    "n_space_groups_drawn": "space groups in 1024 draws / count",
    "n_chemical_systems_drawn": "chemical systems in 1024 draws / count",
    "entropy_space_groups_nats": "entropy of space groups / nats",
    "entropy_chemical_systems_nats": "entropy of chemical systems / nats",
}
# Colours that differ in lightness too (Okabe and Ito), each with a line, a marker and a hatching of its own.
_LOOKS = (
    ("#0072b2", "-", "o", "//"),
    ("#d55e00", "--", "s", "\\\\"),
    ("#009e73", "-.", "^", ".."),
    ("#cc79a7", ":", "D", "xx"),
    ("#000000", (0, (5, 1, 1, 1)), "v", "||"),
    ("#56b4e9", (0, (1, 1)), "P", "--"),
)
_WIDE = 3  # panels in a row
_MARKS = 8  # markers along a line


def draw_bands(groups: Sequence[SeedGroup], png: Path, svg: Path) -> None:
    """Draw one panel a measure, and in each a line and a band a group of runs.

    The axis is logarithmic where values are positive and span more than two decades.

    Args:
        groups: as `read_groups` gives them, at least one.
        png, svg: files to write.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(groups[0].series)
    wide = min(_WIDE, len(names))
    high = math.ceil(len(names) / wide)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "oreflow", "hatch.linewidth": 0.4}):
        figure = Figure(figsize=(4.4 * wide, 3.2 * high + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(high, wide, squeeze=False).flat)
        for panel, name in zip(panels, names):
            for number, group in enumerate(groups):
                _band(panel, group, name, number)
            panel.set_xlabel("gradient steps")
            panel.set_ylabel(LABELS.get(name, name.replace("_", " ")))
            if _spans_decades(groups, name):
                panel.set_yscale("log")
            panel.grid(alpha=0.3)
        for panel in panels[len(names) :]:
            panel.remove()
        lines = figure.axes[0].get_lines()
        figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 3), frameon=False)
        figure.savefig(png, format="png", dpi=150)
        figure.savefig(svg, format="svg", metadata={"Date": None})


def _band(panel: Any, group: SeedGroup, name: str, number: int) -> None:
    """The mean of a group over its steps, and the range of its seeds."""
    colour, line, marker, hatch = _LOOKS[number % len(_LOOKS)]
    steps, values = group.series[name]
    known = np.isfinite(values).any(axis=0)
    steps, values = steps[known], values[:, known]
    n = len(group.seeds)
    label = f"{group.name} ({n} seeds: mean, smallest to largest)" if n > 1 else f"{group.name} (seed {group.seeds[0]})"
    mean = np.nanmean(values, axis=0) if len(steps) else values[0]
    every = max(len(steps) // _MARKS, 1)  # lines that fall together show their markers side by side
    marks = {"marker": marker, "markevery": (min(number * every // 3, len(steps) // 2), every), "markersize": 5}
    panel.plot(steps, mean, color=colour, linestyle=line, label=label, **marks)
    if n > 1 and len(steps):
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        panel.fill_between(steps, low, high, facecolor=colour, edgecolor=colour, alpha=0.25, hatch=hatch, linewidth=0)


def _spans_decades(groups: Sequence[SeedGroup], name: str) -> bool:
    values = np.concatenate([group.series[name][1].ravel() for group in groups])
    values = values[np.isfinite(values)]
    return len(values) > 0 and values.min() > 0 and values.max() > 100 * values.min()
