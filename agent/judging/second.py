"""Two referees of the same candidates: where they agree."""

from typing import Any

import numpy as np

from oreflow.agent.errors import JudgingError
from oreflow.agent.evaluation.statistics import rank_correlation
from oreflow.agent.judging.counting import Share
from oreflow.agent.judging.figures import hull_name, potential
from oreflow.agent.judging.inputs import Sample
from oreflow.agent.judging.judge import Verdicts
from oreflow.agent.judging.stability import Track, tracks


def agreement(verdicts: Verdicts, second: Sample) -> tuple[dict[str, Share], dict[str, Any]]:
    """Compare the verdicts with those of a second referee, joined by `candidate_id`.

    A candidate that the second table lacks, or has no energy of, is not stable by it and stays in the denominator.

    Returns:
        shares: of the sampled objects, stable by both, and hits by both, by key.
        figures: by track, of the candidates that both have energies of: `n_joined`, `share_agreed` (both call it
            stable, or neither does), `n_both`, `n_first_only`, `n_second_only`, `n_neither`, `rank_correlation` and
            `median_difference_ev_per_atom` (second less first) of the energies above the hull.

    Raises:
        JudgingError: when the tables have no candidate, or no track, in common.
    """
    ids = verdicts.sample.frame["candidate_id"].astype(str).to_numpy()[verdicts.decorations.rows]
    place_of = {name: place for place, name in enumerate(second.frame["candidate_id"].astype(str))}
    places = np.array([place_of.get(name, -1) for name in ids], dtype=np.int64)
    if not (places >= 0).any():
        raise JudgingError(
            f"{verdicts.sample.path} and {second.path} have no candidate_id in common; give two tables of `oreflow "
            "relax` of the same candidates"
        )
    theirs = {track.name: track for track in tracks(second, verdicts.hull)}
    shared = [(track, theirs[track.name]) for track in verdicts.tracks if track.name in theirs]
    if not shared:
        raise JudgingError(
            f"{verdicts.sample.path} and {second.path} have energies above a hull of no track in common; give --hull"
        )
    shares: dict[str, Share] = {}
    figures: dict[str, Any] = {"second": str(second.path), "second_potential": second.potential}
    if verdicts.hull is None and second.hull != verdicts.sample.hull:
        figures["second_hull"] = second.hull
    for first, other in shared:
        above = np.where(places >= 0, other.above_hull[places], np.nan)
        figures[first.name] = _compare(first.above_hull, above, verdicts.rule.stable)
        _add_shares(verdicts, second, first, above, shares)
    return shares, figures


def _compare(first: Any, second: Any, threshold: float) -> dict[str, Any]:
    both = np.isfinite(first) & np.isfinite(second)
    a, b = first[both] <= threshold, second[both] <= threshold
    return {
        "n_joined": int(both.sum()),
        "threshold_ev_per_atom": threshold,
        "share_agreed": float((a == b).mean()) if both.any() else None,
        "n_both": int((a & b).sum()),
        "n_first_only": int((a & ~b).sum()),
        "n_second_only": int((~a & b).sum()),
        "n_neither": int((~a & ~b).sum()),
        "rank_correlation": rank_correlation(first, second),
        "median_difference_ev_per_atom": float(np.median(second[both] - first[both])) if both.any() else None,
    }


def _add_shares(verdicts: Verdicts, second: Sample, first: Track, above: Any, shares: dict[str, Share]) -> None:
    before = "" if first.name == "held" else f"{first.name}_"
    after = f", {first.name}" if before else ""
    for key, name, threshold in (
        ("", "", verdicts.rule.stable),
        ("meta", "M.", verdicts.rule.metastable),
    ):
        agreed = verdicts.stable(first, threshold) & (np.nan_to_num(above, nan=np.inf) <= threshold)
        words = (
            f"at most {threshold:g} eV/atom above the hull of {hull_name(verdicts)} by both {potential(verdicts)} and "
            f"{second.potential}"
        )
        count = int(verdicts.draws[agreed].sum())
        shares[f"{before}{key}stable_by_both"] = Share(f"{key}stable by both{after}", count, verdicts.n_sampled, words)
        if verdicts.novelty is not None and verdicts.known is not None:
            hits = int((agreed & verdicts.hits(first, threshold)).sum())
            words += f"; novelty against {verdicts.known.path.name} ({len(verdicts.known)} structures)"
            shares[f"{before}{'m' if key else ''}sun_by_both"] = Share(
                f"{name}S.U.N. by both{after}", hits, verdicts.n_sampled, words
            )
