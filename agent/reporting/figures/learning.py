"""How the training went, and how well the draws follow what they were trained for."""

from collections.abc import Sequence

import numpy as np

from oreflow.agent.errors import RunFolderError
from oreflow.agent.evaluation.seed_bands import LABELS
from oreflow.agent.evaluation.seed_groups import SeedGroup, read_groups
from oreflow.agent.reporting.figures.spec import FURNITURE, Figure, Section, Series
from oreflow.agent.reporting.sources import Source

_CURVES = {
    "loss": "How far the policy is from its target, on its own draws; falls while it learns",
    "mean_log_reward": "Mean log R of the objects drawn in training",
    "exact_total_variation": "Share of draws that goes to the wrong objects, computed over the whole world",
    "top_log_reward": "Mean of the 100 largest log R found so far",
    "share_unique": "Distinct objects in a batch",
}
_MOST_POINTS = 400  # along a curve
_MOST_DRAWN = 3000  # of log R against log P


def learning_section(sources: Sequence[Source]) -> Section:
    """Curves of the measures that the runs wrote down, a line a group of seeds with a band over them."""
    runs = list(dict.fromkeys(source.run.path for source in sources if source.run is not None))
    if not runs:
        return Section("learning", "Learning curves", note="No run folder is known for these tables.")
    try:
        groups = read_groups(runs)
    except RunFolderError as error:
        return Section("learning", "Learning curves", note=str(error))
    names = [name for name in _CURVES if all(name in group.series for group in groups)]
    labels = {source.run.path: source.label for source in sources if source.run is not None}
    titles = [labels[group.runs[0]] if len(group.runs) == 1 else group.name for group in groups]
    figures = [_curve(groups, titles, name) for name in names]
    return Section("learning", "Learning curves", [figure for figure in figures if figure.series])


def _curve(groups: list[SeedGroup], titles: list[str], name: str) -> Figure:
    series, positive = [], True
    for look, (group, title) in enumerate(zip(groups, titles)):
        steps, values = group.series[name]
        known = np.isfinite(values).any(axis=0)
        steps, values = steps[known], values[:, known]
        if not len(steps):
            continue
        thin = slice(None, None, -(-len(steps) // _MOST_POINTS))
        steps, values = steps[thin], values[:, thin]
        mean, low, high = np.nanmean(values, axis=0), np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        positive = positive and bool(low.min() > 0)
        seeds = len(group.seeds)
        band = {"low": low.tolist(), "high": high.tolist()} if seeds > 1 else {}
        named = f"{title} ({seeds} seeds)" if seeds > 1 else title
        series.append(Series("line", steps.tolist(), mean.tolist(), named, look, **band))
    ends = [value for line in series for value in line.y]
    y_log = positive and len(ends) > 0 and max(ends) > 30 * min(ends)
    bands = "; the line is the mean over seeds, the band their range" if any(len(g.seeds) > 1 for g in groups) else ""
    label = LABELS.get(name, name.replace("_", " ")).replace("\n", " ")
    title = label.partition(" / ")[0]
    return Figure(
        f"learning_{name}", title[0].upper() + title[1:], _CURVES[name] + bands + ".", "gradient steps", label, series,
        y_log=y_log,
    )  # fmt: skip


def fit_section(sources: Sequence[Source]) -> Section:
    """log R against log P of the rows: on a line of slope one where the sampler is perfect."""
    figures = [figure for i, source in enumerate(sources) if (figure := _fit(source, i)) is not None]
    note = "" if figures else "The tables lack log_reward or log_pf, which this figure is of."
    return Section("fit", "log R against log P", figures, note)


def _fit(source: Source, number: int) -> Figure | None:
    of_target = source.numbers("log_target") is not None
    wanted, log_pf = source.numbers("log_target" if of_target else "log_reward"), source.numbers("log_pf")
    if wanted is None or log_pf is None:
        return None
    of_prior = source.config is not None and source.config.sampler.kind == "prior"
    rows = np.flatnonzero(np.isfinite(wanted) & np.isfinite(log_pf))
    if not len(rows) or of_prior or source.run is None:
        return None
    offset, spread = float((wanted - log_pf)[rows].mean()), float((wanted - log_pf)[rows].std())
    shown = np.sort(np.random.default_rng(0).choice(rows, min(_MOST_DRAWN, len(rows)), replace=False))
    x, y = log_pf[shown], wanted[shown]
    names = formulas(source)
    hover = [f"{names[row]}: log P {a:.2f}, {b:.2f}" for row, a, b in zip(shown.tolist(), x.tolist(), y.tolist())]
    ends = [float(x.min()), float(x.max())]
    line = Series("line", ends, [end + offset for end in ends], "log P + constant", FURNITURE)
    part = f" {len(shown):,} of {len(rows):,} rows are drawn." if len(shown) < len(rows) else ""
    what = "the log of what the sampler was trained for" if of_target else "log R"
    return Figure(
        f"fit_{number}",
        source.label,
        f"A perfect sampler puts all points on the line. Spread of {what} - log P: {spread:.2f} nats.{part}",
        "log P of the sampler / nats",
        "log target / nats" if of_target else "log R / nats",
        [line, Series("points", x.tolist(), y.tolist(), "candidates", number, hover=hover, small=True)],
    )


def formulas(source: Source) -> list[str]:
    """What the rows are called: by formula, or by what an own world calls its objects."""
    column = "formula_shown" if "formula_shown" in source.rows.columns else "object"
    return source.rows[column].astype(str).tolist()
