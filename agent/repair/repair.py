"""A table of formulas or fractions, each with the nearest charge-neutral formula, by a named rule."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from oreflow.agent.repair import metropolis_hastings
from oreflow.agent.repair.amounts import Amounts, read_amounts
from oreflow.agent.repair.net_valence import net_valence
from oreflow.agent.repair.search import (
    FOUND,
    NONE,
    TOO_FAR,
    Nearest,
    admitted_states,
    changed_atoms,
    nearest_neutral,
    preference,
    squared_distance,
)
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.elements import atomic_number, resolve, symbols
from oreflow.envs.chemistry.oxidation import OxidationTable, TableSpec, oxidation_states, resolve_table
from oreflow.envs.composition.neighbours import formula_changes
from oreflow.envs.errors import FormulaError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import formula_as_written, formula_columns
from oreflow.rewards.terms.composition.charge_balance import witnesses

Measure = Literal["changes", "fractions"]
MOST_CHANGES = 64
FRACTIONS_ATOMS, FRACTIONS_ATOMS_LIMIT = 20, 100


@dataclass(frozen=True)
class Settings:
    """What counts as neutral, as near, and as allowed.

    Attributes:
        nearest: `changes`, fewest changed atoms, or `fractions`, smallest Euclidean distance of element fractions.
            Fractions are always repaired by the latter: they have no atoms to count.
        add: symbols or named lists of elements that may come in beside those of the formula.
        keep_elements: whether each element of the formula has to stay.
        max_atoms: largest number of atoms of the result. None: with `fractions` as many as the formula has, and at
            least 20; with `changes` no limit. Fractions are repaired with at most 100.
        max_changes: how many changed atoms are looked for.
        table, mixed_valence: the rule of neutrality, as `charge_balance` has it.
        ordered: whether some neutral choice of states has to be Pauling-ordered, as `electronegativity_balance` has it.
        method: `exact` or `metropolis_hastings`; the latter knows the elements of the formula alone.
        steps: of Metropolis-Hastings, at most.
        seed: of Metropolis-Hastings; a formula's result does not depend on the other rows.

    Raises:
        ValueError: for numbers out of range, and options that the method does not have.
        UnknownElementError: for a name in `add` that is neither a symbol nor a list.
        UnknownOxidationTableError, OxidationTableError: as `resolve_table`.
    """

    nearest: Measure = "changes"
    add: Sequence[str] = ()
    keep_elements: bool = False
    max_atoms: int | None = None
    max_changes: int = MOST_CHANGES
    table: TableSpec = DEFAULT_TABLE
    mixed_valence: bool = False
    ordered: bool = False
    method: Literal["exact", "metropolis_hastings"] = "exact"
    steps: int = metropolis_hastings.STEPS
    seed: int = 0
    resolved: OxidationTable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolved", resolve_table(self.table))
        resolve(self.add)
        if self.nearest not in ("changes", "fractions"):
            raise ValueError(f"expected nearest as changes or fractions, got {self.nearest!r}")
        if self.method not in ("exact", "metropolis_hastings"):
            raise ValueError(f"expected the method exact or metropolis_hastings, got {self.method!r}")
        if self.method != "exact" and (self.add or self.keep_elements or self.max_atoms or self.ordered):
            raise ValueError(
                "metropolis_hastings moves the fractions of the formula's own elements alone; leave --add, "
                "--keep-elements, --max-atoms and --ordered out, or take --method exact"
            )
        if self.max_atoms is not None and self.max_atoms < 1:
            raise ValueError(f"expected max_atoms of at least 1, got {self.max_atoms}")
        if self.nearest == "fractions" and (self.max_atoms or 0) > FRACTIONS_ATOMS_LIMIT:
            raise ValueError(
                f"expected max_atoms of at most {FRACTIONS_ATOMS_LIMIT} with nearest fractions, got {self.max_atoms}"
            )
        if not 1 <= self.max_changes <= 1000:
            raise ValueError(f"expected max_changes from 1 to 1000, got {self.max_changes}")
        if self.steps < 1:
            raise ValueError(f"expected at least one step, got {self.steps}")


@dataclass(frozen=True)
class Outcome:
    """What became of one composition: a status, the neutral amounts if there are any, and a sentence where not."""

    status: str
    counts: dict[int, int] | None = None
    changed_atoms: int | None = None
    note: str = ""


def repair_formulas(texts: Sequence[str], settings: Settings = Settings()) -> pd.DataFrame:
    """Find the nearest charge-neutral formula of each text, one row a text, in order.

    Columns: `formula` as given; `repaired`, reduced and as chemists write it; `status` (`neutral` already, `repaired`,
    `charged` where Metropolis-Hastings did not get there, `no_neutral_formula`, `too_far`, `no_oxidation_state`,
    `unreadable`); `changed_atoms`; `changes` in words; `distance`, Euclidean, of element fractions;
    `net_valence_before` and `net_valence_after` in e/atom; `oxidation_states` that witness neutrality;
    `oxidation_table`, with what else the rule has; `method`; `note`. Rows that equal an earlier one have its result.
    """
    states = oxidation_states(settings.resolved)
    given: list[Amounts | None] = []
    outcomes: list[Outcome] = []
    known: dict[object, Outcome] = {}
    for text in texts:
        try:
            amounts = read_amounts(text)
        except FormulaError as error:
            given.append(None)
            outcomes.append(Outcome("unreadable", note=str(error)))
            continue
        if amounts.key not in known:
            known[amounts.key] = _repair(amounts, states, settings)
        given.append(amounts)
        outcomes.append(known[amounts.key])
    return _table(texts, given, outcomes, states, settings)


def _repair(amounts: Amounts, states: dict[int, tuple[int, ...]], settings: Settings) -> Outcome:
    names, weights = symbols(), amounts.weights
    missing = [names[z] for z in weights if z not in states]
    if missing:
        note = f"no oxidation state of {', '.join(missing)} in {settings.resolved.label}; choose another table"
        return Outcome("no_oxidation_state", note=note)
    if settings.method == "metropolis_hastings":
        # A stream of its own for each composition, so that rows do not depend on one another.
        entropy = [settings.seed, *(n for pair in sorted(weights.items()) for n in pair)]
        rng = np.random.default_rng(np.random.SeedSequence(entropy))
        moved = metropolis_hastings.walk(weights, states, settings.mixed_valence, rng, settings.steps)
        left = net_valence(moved, states, settings.mixed_valence)
        if left > 0:
            note = f"net valence {left:.3g} e/atom after at most {settings.steps} steps"
            return Outcome("charged", moved, None, note)
        return Outcome("repaired" if squared_distance(weights, moved) else "neutral", moved)
    return _exact(amounts, states, settings)


def _exact(amounts: Amounts, states: dict[int, tuple[int, ...]], settings: Settings) -> Outcome:
    weights = amounts.weights
    by_changes = amounts.counted and settings.nearest == "changes"
    total = sum(weights.values())
    if by_changes:
        most = settings.max_atoms or total + settings.max_changes
    else:
        most = settings.max_atoms or max(FRACTIONS_ATOMS, total if amounts.counted else 0)
        most = min(most, FRACTIONS_ATOMS_LIMIT)
    allowed = {*weights, *(z for z in map(atomic_number, resolve(settings.add)) if z in states)}
    kept = list(weights) if settings.keep_elements else []
    best: Nearest = Nearest(NONE, {})
    most_changes = settings.max_changes if by_changes else None
    for admitted in admitted_states({z: states[z] for z in allowed}, settings.ordered):
        found = nearest_neutral(weights, admitted, kept, settings.mixed_valence, most, most_changes)
        if found.verdict == FOUND:
            if best.verdict == FOUND:
                found = min(best, found, key=lambda one: preference(weights, one.counts, by_changes))
            best = found
            if by_changes:
                most_changes = changed_atoms(weights, best.counts)  # nothing beyond is of interest any more
                if most_changes == 0:
                    break
        elif found.verdict == TOO_FAR and best.verdict == NONE:
            best = found
    if best.verdict == TOO_FAR:
        return Outcome("too_far", note=f"no neutral formula within {settings.max_changes} changed atoms")
    if best.verdict == NONE:
        return Outcome("no_neutral_formula", note=_why(weights, settings, None if by_changes else most))
    same = squared_distance(weights, best.counts) == 0 if not by_changes else weights == best.counts
    changed = changed_atoms(weights, best.counts) if amounts.counted else None
    return Outcome("neutral" if same else "repaired", best.counts, changed)


def _why(weights: dict[int, int], settings: Settings, most: int | None = None) -> str:
    names = ", ".join(symbols()[z] for z in weights)
    added = " and what --add names" if settings.add else ""
    limit = f" within {most or settings.max_atoms} atoms" if most or settings.max_atoms else ""
    return (
        f"no formula of {names}{added} is neutral by {settings.resolved.label}{limit}; allow other elements with "
        f"--add, {'more atoms, ' if limit else ''}or another table"
    )


def _table(
    texts: Sequence[str],
    given: Sequence[Amounts | None],
    outcomes: Sequence[Outcome],
    states: dict[int, tuple[int, ...]],
    settings: Settings,
) -> pd.DataFrame:
    names = symbols()
    rows = [i for i, outcome in enumerate(outcomes) if outcome.counts]
    batch = Compositions.from_dicts([outcomes[i].counts or {} for i in rows])
    written = dict(zip(rows, map(formula_as_written, formula_columns(batch)["formula_pretty"])))
    states_of = dict(zip(rows, witnesses(batch, settings.resolved, settings.mixed_valence)))
    mixed = settings.mixed_valence
    more = [word for word, chosen in (("mixed valence", mixed), ("Pauling-ordered", settings.ordered)) if chosen]
    rule = settings.resolved.label + (f" ({', '.join(more)})" if more else "")

    def cells(i: int) -> Iterator[object]:
        outcome, own = outcomes[i], given[i]
        yield texts[i]
        yield written.get(i, "")
        yield outcome.status
        yield outcome.changed_atoms
        text = ""
        if own is not None and own.counted and outcome.counts and settings.method == "exact":
            text = ", ".join(
                formula_changes(
                    {names[z]: n for z, n in own.weights.items()}, {names[z]: n for z, n in outcome.counts.items()}
                )
            )
        yield text
        yield math.sqrt(squared_distance(own.weights, outcome.counts)) if own is not None and outcome.counts else np.nan
        judged = own is not None and all(z in states for z in own.weights)
        yield net_valence(own.weights, states, mixed) if own is not None and judged else np.nan
        yield net_valence(outcome.counts, states, mixed) if outcome.counts else np.nan
        yield states_of.get(i, "")
        yield rule
        yield settings.method
        yield outcome.note

    header = ["formula", "repaired", "status", "changed_atoms", "changes", "distance", "net_valence_before"]
    header += ["net_valence_after", "oxidation_states", "oxidation_table", "method", "note"]
    frame = pd.DataFrame([tuple(cells(i)) for i in range(len(texts))], columns=header)
    return frame.astype({"changed_atoms": "Int64"})
