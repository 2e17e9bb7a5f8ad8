"""What was asked, and how many rows meet it: each term's median and share, and the share that meets all."""

from typing import Any

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.evaluation.satisfaction import NO_UNIT, satisfied, wish_in_words
from oreflow.agent.sampling.rows.store import RowStore
from oreflow.envs.arrays import Bools
from oreflow.rewards import Reward


def wishes(config: Config, reward: Reward, rows: RowStore) -> dict[str, Any]:
    """The figures of each term, in the order of the config, and of all that have a threshold.

    Returns:
        `wishes`: of each term its name, unit, wish in words, median (None of a verdict) and share of rows that meet it
        (None without a threshold). `share_meeting_all`: None where no term has a threshold.
    """
    names = rows.schema.names
    units = {term.name: term.unit for term, _ in reward.terms}
    found: list[dict[str, Any]] = []
    everything: Bools | None = None
    for term in config.reward.terms:
        name = term.label or term.name
        if f"{name}_valid" not in names:
            continue
        column = names[names.index(f"{name}_valid") - 1]
        values = rows.column(column)
        scored = rows.column(f"{name}_scored") if f"{name}_scored" in names else values
        meets = satisfied(term.shape, scored)
        if meets is not None:
            everything = meets if everything is None else everything & meets
        is_verdict = term.shape.get("kind") == "verdict"
        found.append(
            {
                "term": name,
                "unit": units[name],
                "wish": wish_in_words(term.shape, units[name]),
                "median": None if is_verdict or not np.isfinite(values).any() else float(np.nanmedian(values)),
                "share": None if meets is None or not len(meets) else float(meets.mean()),
            }
        )
    share = None if everything is None or not len(everything) else float(everything.mean())
    return {"wishes": found, "share_meeting_all": share}


def in_lines(summary: dict[str, Any]) -> list[str]:
    """The same for people: a line a term, one for all, and the verdict."""
    lines = []
    for wish in summary.get("wishes", []):
        unit = "" if wish["unit"] in NO_UNIT else f" {wish['unit']}"
        median = [] if wish["median"] is None else [f"median {wish['median']:.3g}{unit}"]
        share = [] if wish["share"] is None else [f"{wish['share']:.1%} {wish['wish']}".strip()]
        lines.append(f"{wish['term'].replace('_', ' '):26s} {', '.join([*median, *share])}")
    if summary.get("share_meeting_all") is not None:
        lines.append(f"{'all of these':26s} {summary['share_meeting_all']:.1%}")
    if "worth_reading" in summary:
        lines.append(f"{'verdict':26s} {summary['worth_reading']}")
    return lines
