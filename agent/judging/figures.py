"""Figures of verdicts: each share with its threshold, hull, potential, novelty reference and n."""

from collections.abc import Callable
from typing import Any

import numpy as np

from oreflow.agent.evaluation.statistics import entropy_nats, jensen_shannon
from oreflow.agent.judging.counting import Share
from oreflow.agent.judging.judge import Verdicts, weighted_counts
from oreflow.agent.judging.matching import MATCHER
from oreflow.agent.judging.stability import Track
from oreflow.agent.judging.validity import LEMAT, SMACT
from oreflow.agent.relaxation.symmetry import DESIGN_TOLERANCE_A, KEPT_TOLERANCE_A
from oreflow.envs.arrays import Bools
from oreflow.envs.symmetry.space_groups import N_SPACE_GROUPS

Count = Callable[[Bools], int]
_TRACKS = {"held": "symmetry held", "free": "free after a rattle"}


def shares(verdicts: Verdicts) -> dict[str, Share]:
    """All shares of the sampled objects, by key; those that the sample or the rule have no ground for are left out.

    Stable, valid and novel objects count as often as they were drawn. Unique ones, and hits, count once: duplicates and
    failures are in the denominator only.
    """

    def drawn(flags: Bools) -> int:
        return int(verdicts.draws[flags].sum())

    def once(flags: Bools) -> int:
        return int(flags.sum())

    found: dict[str, Share] = {}

    def add(key: str, name: str, flags: Bools, count: Count, protocol: str) -> None:
        found[key] = Share(name, count(flags), verdicts.n_sampled, protocol)

    add("unique", "unique", verdicts.is_unique, once, f"among the sampled, {MATCHER}")
    novel = verdicts.novelty
    against = _novelty_protocol(verdicts)
    if novel is not None:
        new_prototype = novel.is_novel & novel.has_prototype & (np.array(novel.prototype_of) == "")
        add("novel", "novel", novel.is_novel, drawn, against)
        words = f"{against}; neither known nor a known crystal with other elements (fit_anonymous)"
        add("novel_prototype", "novel prototype", new_prototype, drawn, words)
    if novel is not None or verdicts.hull is not None:
        not_listed = ~verdicts.formula_listed & (np.array(verdicts.formulas) != "")
        add("formula_not_listed", "formula not listed", not_listed, drawn, f"in {_listed_in(verdicts)}")
    for track in verdicts.tracks:
        _of_track(verdicts, track, add, drawn, once, against)
    validity = verdicts.validity
    for key, name, flags in (
        ("valid", "valid", validity.valid),
        ("neutral", "  neutral", validity.neutral),
        ("distances", "  distances", validity.distances),
        ("plausible", "  plausible", validity.plausible),
    ):
        add(key, name, flags, drawn, LEMAT)
    add("smact_valid", "valid by SMACT's rule", validity.smact, drawn, SMACT)
    symmetric = verdicts.space_groups > 1
    add("symmetric", "symmetric", symmetric, drawn, f"not P1 within {KEPT_TOLERANCE_A:g} angstrom, by moyopy")
    return found


def _of_track(
    verdicts: Verdicts, track: Track, add: Callable[..., None], drawn: Count, once: Count, against: str
) -> None:
    before = "" if track.name == "held" else f"{track.name}_"
    after = f", {track.name}" if before else ""
    stable, metastable = verdicts.rule.stable, verdicts.rule.metastable

    def by(threshold: float) -> str:
        how = _TRACKS[track.name]
        return f"at most {threshold:g} eV/atom above the hull of {hull_name(verdicts)}; {potential(verdicts)}, {how}"

    add(f"{before}on_or_below_hull", f"on or below the hull{after}", verdicts.stable(track, 0.0), drawn, by(0.0))
    add(f"{before}stable", f"stable{after}", verdicts.stable(track, stable), drawn, by(stable))
    add(f"{before}metastable", f"metastable{after}", verdicts.stable(track, metastable), drawn, by(metastable))
    if verdicts.novelty is None:
        return
    novel = verdicts.novelty
    new_prototype = novel.has_prototype & (np.array(novel.prototype_of) == "")
    for key, name, threshold in (("sun", "S.U.N.", stable), ("msun", "M.S.U.N.", metastable)):
        hits, protocol = verdicts.hits(track, threshold), f"{by(threshold)}; {against}"
        add(f"{before}{key}", f"{name}{after}", hits, once, protocol)
        within = track.space_group > 1
        words = f"not P1 within {KEPT_TOLERANCE_A:g} angstrom, by spglib; {protocol}"
        add(f"{before}symmetric_{key}", f"symmetric {name}{after}", hits & within, once, words)
        if np.isfinite(track.space_group_tight).any():
            words = f"not P1 within {DESIGN_TOLERANCE_A:g} angstrom, by spglib; {protocol}"
            tight = hits & (track.space_group_tight > 1)
            add(f"{before}symmetric_tight_{key}", f"symmetric {name}, tight{after}", tight, once, words)
        words = f"neither duplicate, known, nor a known crystal with other elements; {protocol}"
        add(f"{before}new_prototype_{key}", f"{name} of new prototype{after}", hits & new_prototype, once, words)
        unlisted = hits & ~verdicts.formula_listed
        words = f"formula not in {_listed_in(verdicts)}; {protocol}"
        add(f"{before}unlisted_{key}", f"{name}, formula not listed{after}", unlisted, once, words)


def hull_name(verdicts: Verdicts) -> str:
    """Which hull energies were taken above, with phases and residual."""
    return verdicts.hull.name if verdicts.hull is not None else verdicts.sample.hull or "a reference not named"


def potential(verdicts: Verdicts) -> str:
    """What relaxed the sample."""
    return verdicts.sample.potential or "not relaxed"


def _novelty_protocol(verdicts: Verdicts) -> str:
    known = verdicts.known
    return "" if known is None else f"novelty against {known.path.name} ({len(known)} structures), {MATCHER}"


def _listed_in(verdicts: Verdicts) -> str:
    names = [] if verdicts.known is None else [verdicts.known.path.name]
    if verdicts.hull is not None:
        alignment = verdicts.hull.alignment
        names += alignment.names if alignment is not None else [verdicts.hull.reference.path.name]
    return " and ".join(dict.fromkeys(names))


def diversity(verdicts: Verdicts) -> dict[str, Any]:
    """Numbers and entropies of space groups and chemical systems, of all and of the hits, and distance to the known.

    Space groups are those within 0.1 angstrom. The Jensen-Shannon divergence is of the shares of space groups, each
    object counted as often as it was drawn, from those of the reference; between 0 and log 2 = 0.693 nats.
    """
    groups, systems, draws = verdicts.space_groups.tolist(), verdicts.chemical_systems, verdicts.draws
    figures: dict[str, Any] = {
        "n_space_groups": len({group for group in groups if group}),
        "entropy_space_groups_nats": entropy_nats(weighted_counts(groups, draws)),
        "n_chemical_systems": len({system for system in systems if system}),
        "entropy_chemical_systems_nats": entropy_nats(weighted_counts(systems, draws)),
    }
    if verdicts.known is not None:
        ours = np.bincount(groups, weights=draws, minlength=N_SPACE_GROUPS + 1)[1:]
        theirs = np.bincount(verdicts.known.space_groups, minlength=N_SPACE_GROUPS + 1)[1:].astype(np.float64)
        if ours.sum() and theirs.sum():
            distance = jensen_shannon(ours / ours.sum(), theirs / theirs.sum())
            figures["space_groups_jensen_shannon_nats"] = distance
            figures["entropy_reference_space_groups_nats"] = entropy_nats(theirs)
        for track in verdicts.tracks:
            before = "" if track.name == "held" else "free_"
            hits = np.flatnonzero(verdicts.hits(track, verdicts.rule.stable)).tolist()
            figures[f"n_space_groups_of_{before}sun"] = len({groups[place] for place in hits if groups[place]})
            figures[f"n_chemical_systems_of_{before}sun"] = len({systems[place] for place in hits})
    return figures
