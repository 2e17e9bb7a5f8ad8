"""From a path and a rule to a table of verdicts, figures, and lines that people read."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from oreflow.agent.errors import JudgingError
from oreflow.agent.judging.counting import Share
from oreflow.agent.judging.figures import diversity, hull_name, potential, shares
from oreflow.agent.judging.inputs import read_sample
from oreflow.agent.judging.judge import Rule, Verdicts, judge, judged_table
from oreflow.agent.judging.second import agreement
from oreflow.agent.judging.stability import read_hull
from oreflow.agent.judging.validity import SMACT


class Report(NamedTuple):
    """What a judgement says.

    Attributes:
        table: one row an entry, as `judge.judged_table` gives it.
        metrics: plain data.
        lines: of text.
    """

    table: pd.DataFrame
    metrics: dict[str, Any]
    lines: list[str]


def report(path: Path, rule: Rule, second: Path | None = None, quiet: bool = True) -> Report:
    """Judge a relaxed table, or structures, and sum up.

    Args:
        second: a relaxed table of the same candidates by another referee.
        quiet: whether no progress is shown.

    Raises:
        JudgingError: when there is nothing to judge as asked.
        TableError, ReferenceTableError: when a table or reference cannot be read or used.
    """
    if rule.aligned_by is not None and rule.hull is None:
        raise JudgingError("expected --hull with --aligned-by: the reference that is to be aligned")
    sample = read_sample(path)
    hull = None if rule.hull is None else read_hull(rule.hull, rule.aligned_by, rule.max_residual, rule.same_formula)
    verdicts = judge(sample, rule, hull, quiet)
    found = shares(verdicts)
    comparison: dict[str, Any] = {}
    if second is not None:
        by_both, comparison = agreement(verdicts, read_sample(second))
        found |= by_both
    varied = diversity(verdicts)
    notes = _notes(verdicts)
    metrics = _metrics(verdicts, found, varied, comparison, notes)
    lines = _head(verdicts) + [share.line for share in found.values()] + _hit_lines(found)
    lines += _diversity_lines(varied) + _agreement_lines(comparison) + [f"note: {note}" for note in notes]
    return Report(judged_table(verdicts), metrics, lines)


def _head(verdicts: Verdicts) -> list[str]:
    counts = Counter(verdicts.sample.frame["status"])
    statuses = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in counts.most_common())
    return [
        f"{verdicts.n_sampled} sampled objects; {len(verdicts.sample)} rows ({statuses}) of {len(verdicts.draws)} "
        "decorations. Shares are of the sampled objects, with the interval of 95 % (Wilson)"
    ]


def _notes(verdicts: Verdicts) -> list[str]:
    sample, notes = verdicts.sample, []
    if not sample.is_relaxed:
        notes.append(
            f"no energies: {sample.path} holds structures only, so stability is not judged; `oreflow relax "
            f"{sample.path} --out DIR` first, then `oreflow evaluate DIR`"
        )
    elif not verdicts.tracks:
        notes.append("no energies above a hull in the table, so stability is not judged; give --hull FILE")
    if verdicts.known is None:
        notes.append("novelty and S.U.N. are not judged; give known crystals with --reference FILE")
    elif verdicts.known.n_unreadable:
        notes.append(f"{verdicts.known.n_unreadable} entries of {verdicts.known.path} are no crystals and left out")
    n_unlike = int((verdicts.space_groups == 0).sum()) - sum(
        sample.structures[row] is None for row in verdicts.decorations.rows.tolist()
    )
    if n_unlike:
        notes.append(f"{n_unlike} structures have no space group that could be told; they count as no new prototype")
    return notes


def _metrics(
    verdicts: Verdicts, found: dict[str, Share], varied: dict[str, Any], comparison: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    sample, rule, known = verdicts.sample, verdicts.rule, verdicts.known
    counts = Counter(sample.frame["status"])
    alignment = None if verdicts.hull is None else verdicts.hull.alignment
    return {
        "n_sampled": verdicts.n_sampled,
        "n_rows": len(sample),
        "n_decorations": len(verdicts.draws),
        "n_by_status": {status: counts[status] for status in sorted(counts)},
        "n_unreadable": counts["unreadable"],
        "neutrality_rule": SMACT,
        "potential": potential(verdicts),
        "hull": hull_name(verdicts) if verdicts.tracks else None,
        "alignment": None if alignment is None else alignment.figures(),
        "novelty_reference": None if known is None else str(known.path),
        "n_novelty_reference": None if known is None else len(known),
        "stable_ev_per_atom": rule.stable,
        "metastable_ev_per_atom": rule.metastable,
        "figures": {key: share.figures() for key, share in found.items()},
        "diversity": varied,
        "referees": comparison or None,
        "median_energy_above_hull_ev_per_atom": {
            track.name: float(np.nanmedian(track.above_hull)) for track in verdicts.tracks
        },
        "notes": notes,
    }


def _hit_lines(found: dict[str, Share]) -> list[str]:
    """Of the hits, how many are of a prototype that nobody knows."""
    lines = []
    for before in ("", "free_"):
        hits, new = found.get(f"{before}sun"), found.get(f"{before}new_prototype_sun")
        if hits is not None and new is not None and hits.count:
            lines.append(Share(f"of the {hits.name} hits: new prototype", new.count, hits.count, new.protocol).line)
    return lines


def _diversity_lines(varied: dict[str, Any]) -> list[str]:
    lines = [
        f"space groups {varied['n_space_groups']} (entropy {varied['entropy_space_groups_nats']:.2f} nats), chemical "
        f"systems {varied['n_chemical_systems']} (entropy {varied['entropy_chemical_systems_nats']:.2f} nats)"
    ]
    if "space_groups_jensen_shannon_nats" in varied:
        lines.append(
            f"Jensen-Shannon divergence of space groups to the reference "
            f"{varied['space_groups_jensen_shannon_nats']:.3f} nats (entropy there "
            f"{varied['entropy_reference_space_groups_nats']:.2f} nats)"
        )
    for before in ("", "free_"):
        if f"n_space_groups_of_{before}sun" in varied:
            lines.append(
                f"S.U.N.{', free' if before else ''}: {varied[f'n_space_groups_of_{before}sun']} space groups, "
                f"{varied[f'n_chemical_systems_of_{before}sun']} chemical systems"
            )
    return lines


def _agreement_lines(comparison: dict[str, Any]) -> list[str]:
    lines = []
    for track in ("held", "free"):
        found = comparison.get(track)
        if found is None or found["share_agreed"] is None:
            continue
        correlation = found["rank_correlation"]
        lines.append(
            f"two referees, {track}: agree on {found['share_agreed']:.1%} of {found['n_joined']} candidates at "
            f"{found['threshold_ev_per_atom']:g} eV/atom (stable by both {found['n_both']}, by the first alone "
            f"{found['n_first_only']}, by {comparison['second_potential']} alone {found['n_second_only']}, by neither "
            f"{found['n_neither']}); rank correlation {'none' if correlation is None else f'{correlation:.2f}'}, "
            f"median difference {found['median_difference_ev_per_atom']:+.3f} eV/atom"
        )
    if comparison.get("second_hull") is not None:
        lines.append(f"note: the second table was judged by another hull, {comparison['second_hull'] or 'not named'}")
    return lines
