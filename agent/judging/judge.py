"""Verdicts on a sample, row by row, and the shares that follow from them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.errors import JudgingError
from oreflow.agent.judging.inputs import Decorations, Sample, decorations, formula_keys
from oreflow.agent.judging.known_structures import KnownStructures, anonymous_prototypes
from oreflow.agent.judging.matching import Novelty, duplicates, novelty
from oreflow.agent.judging.stability import Hull, Track, tracks
from oreflow.agent.judging.validity import Validity, validity
from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import formula_columns
from oreflow.rewards.reference.alignment import MAX_RESIDUAL_EV_PER_ATOM
from oreflow.rewards.terms.composition.novelty import KnownFormulas

_ROUNDING = 1e-9  # eV/atom; a phase of the hull itself is not above it


@dataclass(frozen=True)
class Rule:
    """What is asked for.

    Attributes:
        reference: known crystals, for novelty; None leaves it out.
        hull: phases that energies above the hull are recomputed with; None takes the table's own energies.
        aligned_by: a reference on the potential's scale, which `hull` is aligned to.
        max_residual: eV/atom, the mean difference that the alignment may leave.
        same_formula: "include", or "exclude" phases of a crystal's own formula from `hull`.
        stable: eV/atom above the hull, at most, of a stable crystal.
        metastable: the same of a metastable one.
        n_sampled: objects that were drawn; None takes the sum of `n_times_sampled`, or the number of decorations.
    """

    reference: Path | None = None
    hull: Path | None = None
    aligned_by: Path | None = None
    max_residual: float = MAX_RESIDUAL_EV_PER_ATOM
    same_formula: str = "include"
    stable: float = 0.08
    metastable: float = 0.1
    n_sampled: int | None = None


@dataclass(frozen=True)
class Verdicts:
    """What is said of each decoration; all arrays are [decoration].

    Attributes:
        sample: what was judged.
        rule: by what.
        decorations: the rows that stand for the decorations, and their draws.
        n_sampled: objects that were drawn.
        tracks: above the hull, of those rows only; empty without energies.
        hull: that recomputed them, or None.
        is_unique: the lowest in energy of those that match one another.
        duplicate_of: place of that one, -1 where there is none.
        novelty: None without a reference.
        known: the reference, or None.
        formula_listed: whether reference or hull hold the formula.
        space_groups: int64, within 0.1 angstrom by moyopy; 0 where there is none.
        validity: of the structures.
        formulas: reduced, "" where unknown; chemical_systems likewise.
    """

    sample: Sample
    rule: Rule
    decorations: Decorations
    n_sampled: int
    tracks: list[Track]
    hull: Hull | None
    is_unique: Bools
    duplicate_of: Ints
    novelty: Novelty | None
    known: KnownStructures | None
    formula_listed: Bools
    space_groups: Ints
    validity: Validity
    formulas: list[str]
    chemical_systems: list[str]

    @property
    def draws(self) -> Ints:
        """int64 [decoration], how often each was drawn."""
        return self.decorations.draws

    def stable(self, track: Track, threshold: float) -> Bools:
        """Whether each lies at most so far above the hull, eV/atom; False where that is unknown."""
        return np.nan_to_num(track.above_hull, nan=np.inf) <= threshold + _ROUNDING

    def hits(self, track: Track, threshold: float) -> Bools:
        """Whether each is stable, unique and novel.

        Raises:
            JudgingError: without a reference to be novel against.
        """
        if self.novelty is None:
            raise JudgingError("expected a reference of known crystals to be novel against, got none")
        return self.stable(track, threshold) & self.is_unique & self.novelty.is_novel


def judge(
    sample: Sample, rule: Rule, hull: Hull | None, quiet: bool = True, known: KnownStructures | None = None
) -> Verdicts:
    """Judge a sample by a rule.

    Args:
        hull: as `stability.read_hull` gives it, for `rule.hull`.
        quiet: whether no progress is shown.
        known: what `rule.reference` holds, where it was read before.

    Raises:
        JudgingError: when fewer objects are said to be drawn than the table shows, the reference holds no structures,
            or a hull is given and there are no formation energies.
        TableError: when the reference cannot be read.
    """
    chosen = decorations(sample)
    n_shown = int(chosen.draws.sum())
    if rule.n_sampled is not None and rule.n_sampled < n_shown:
        raise JudgingError(
            f"expected --sampled of at least {n_shown}, the draws that {sample.path} shows, got {rule.n_sampled}"
        )
    if hull is not None and not sample.is_relaxed:
        raise JudgingError(
            f"{sample.path} holds structures without energies, which a hull needs; `oreflow relax {sample.path} --out "
            "DIR` first, then judge DIR"
        )
    if known is None and rule.reference is not None:
        known = KnownStructures(rule.reference, quiet)
    rows = chosen.rows.tolist()
    structures = [sample.structures[row] for row in rows]
    order = np.argsort(sample.energies[chosen.rows], kind="stable").tolist()
    same = duplicates(structures, order)
    given = np.array([structure is not None for structure in structures], dtype=np.bool_)
    duplicate_of = np.array([-1 if place is None else place for place in same], dtype=np.int64)
    hashes, groups = anonymous_prototypes(structures)
    found = None if known is None else novelty(structures, hashes, known, quiet)
    frame = sample.frame
    texts = frame["formula_reduced"].astype(str).tolist() if "formula_reduced" in frame.columns else [""] * len(frame)
    keys = formula_keys(structures, [texts[row] for row in rows])
    formulas, systems = _names(keys)
    return Verdicts(
        sample,
        rule,
        chosen,
        rule.n_sampled or n_shown,
        [_of_rows(track, chosen.rows) for track in tracks(sample, hull)],
        hull,
        given & (duplicate_of < 0),
        duplicate_of,
        found,
        known,
        _listed(keys, found, hull),
        np.array(groups, dtype=np.int64),
        validity(structures),
        formulas,
        systems,
    )


def _of_rows(track: Track, rows: Ints) -> Track:
    return Track(track.name, track.above_hull[rows], track.space_group[rows], track.space_group_tight[rows])


def _names(keys: list[Any]) -> tuple[list[str], list[str]]:
    formulas = formula_columns(Compositions.from_dicts([dict(key) or {1: 1} for key in keys]))["formula_reduced"]
    names = symbols()
    return (
        [formula if key else "" for key, formula in zip(keys, formulas)],
        ["-".join(sorted(names[z] for z, _ in key)) for key in keys],
    )


def _listed(keys: list[Any], found: Novelty | None, hull: Hull | None) -> Bools:
    listed = np.zeros(len(keys), dtype=np.bool_) if found is None else found.formula_listed.copy()
    if hull is not None:
        rows = [place for place, key in enumerate(keys) if key]
        batch = Compositions.from_dicts([dict(keys[place]) for place in rows])
        listed[rows] |= KnownFormulas(hull.reference.compositions).contain(batch)
    return listed


def judged_table(verdicts: Verdicts) -> pd.DataFrame:
    """One row an entry of the sample, in order, with what was said of it; rows that stand for nothing are empty."""
    sample, rows = verdicts.sample, verdicts.decorations.rows
    ids = sample.frame["candidate_id"].astype(str).to_numpy(dtype=object)
    stands = np.zeros(len(sample), dtype=np.bool_)
    stands[rows] = True
    table = pd.DataFrame(
        {
            "candidate_id": ids,
            "decoration_id": verdicts.decorations.ids,
            "stands_for_decoration": stands,
            "status": sample.frame["status"],
        }
    )
    if "decoration_id" not in sample.frame.columns:
        table["decoration_id"] = ids
    n = verdicts.novelty
    first = [ids[rows[place]] if place >= 0 else "" for place in verdicts.duplicate_of.tolist()]
    columns: dict[str, Any] = {
        "n_times_sampled": verdicts.draws,
        "formula_reduced": verdicts.formulas,
        "chemical_system": verdicts.chemical_systems,
        "space_group_number": verdicts.space_groups,
    }
    for track in verdicts.tracks:
        before = "" if track.name == "held" else "free_"
        columns[f"{before}energy_above_hull_ev_per_atom"] = track.above_hull
        columns[f"{before}is_stable"] = verdicts.stable(track, verdicts.rule.stable)
        columns[f"{before}is_metastable"] = verdicts.stable(track, verdicts.rule.metastable)
        if n is not None:
            columns[f"{before}is_sun"] = verdicts.hits(track, verdicts.rule.stable)
            columns[f"{before}is_msun"] = verdicts.hits(track, verdicts.rule.metastable)
    columns |= {"is_unique": verdicts.is_unique, "duplicate_of": first}
    if n is not None:
        columns |= {
            "is_novel": n.is_novel,
            "known_as": n.known_as,
            "known_rms": n.rms,
            "novel_prototype": n.is_novel & n.has_prototype & (np.array(n.prototype_of) == ""),
            "prototype_of": n.prototype_of,
        }
    if n is not None or verdicts.hull is not None:
        columns["formula_listed"] = verdicts.formula_listed
    columns |= {
        "is_valid": verdicts.validity.valid,
        "is_neutral": verdicts.validity.neutral,
        "has_distances": verdicts.validity.distances,
        "is_plausible": verdicts.validity.plausible,
        "smact_valid": verdicts.validity.smact,
    }
    for name, values in columns.items():
        cells = pd.Series([None] * len(sample), dtype=object)
        cells.iloc[rows] = list(values)
        table[name] = cells
    return table


def weighted_counts(values: list[Any], draws: Ints) -> Floats:
    """Draws by distinct value, in descending order; values that are empty or 0 are left out."""
    counts: Counter[Any] = Counter()
    for value, times in zip(values, draws.tolist()):
        if value:
            counts[value] += times
    return np.array(sorted(counts.values(), reverse=True), dtype=np.float64)
