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


def novelty(rows: RowStore, n_known: int) -> dict[str, Any]:
    """How many rows the reference lacks.

    Returns:
        `share_novel`, of the rows (None where there are none), and `n_reference`, the objects that it was held against.
    """
    return {"share_novel": rows.n_true("is_novel") / len(rows) if len(rows) else None, "n_reference": n_known}


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
    if summary.get("share_novel") is not None:
        lines.append(
            f"{'novel':26s} {summary['share_novel']:.1%} not among {summary['n_reference']:,} of the reference"
        )
    if "worth_reading" in summary:
        lines.append(f"{'verdict':26s} {summary['worth_reading']}")
    return lines


def hull_lines(summary: dict[str, Any]) -> list[str]:
    """What the summary says of a hull of known phases, for people; nothing where no term asked for one."""
    if "share_hull_hole" not in summary:
        return []
    median, near = summary["median_energy_above_hull_ev_per_atom"], summary["share_within_0.05_ev_per_atom_of_hull"]
    lines = [f"{'energy above the hull':26s} {median:.3f} eV/atom predicted (median); {near:.1%} within 0.05"]
    if summary["share_hull_hole"]:
        lines.append(
            f"{'holes in the hull':26s} {summary['share_hull_hole']:.1%} of the rows, "
            f"{summary['share_far_below_hull']:.1%} far below it: the reference is likely to lack competing compounds "
            "there (column hull_hole)"
        )
    if summary["share_mixtures"]:
        lines.append(
            f"{'mixtures of known phases':26s} {summary['share_mixtures']:.1%} of the rows, such as "
            f"{summary['mixture_example']}: phases that differ in one element mix at any ratio"
        )
    return lines
