"""The table for people: which columns of the full table `candidates.csv` has, and with how many digits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

MOST_COLUMNS = 15
LOG_REWARD_DECIMALS = 2
"""Of log R, and of logarithms in general, where no model's uncertainty takes one away."""
_ENERGY_DECIMALS = 3  # eV/atom; models are not sure of the second
_SIGNIFICANT = 4  # digits of everything else
_NAMED = ("candidate_id", "rank", "formula", "object", "anion", "space_group_symbol", "wyckoff_label")
# The identity of an object in other words: of the full table alone.
_FULL_ONLY = frozenset(
    {
        *("formula_pretty", "formula_reduced", "formula_anonymous", "chemsys", "nelements", "nsites"),
        *("space_group_number", "protostructure", "space_group_found", "log_target", "log_prior"),
    }
)
_STD = ("energy_above_hull_std", "crystal_energy_above_hull_std", "formation_energy_std")
_ENERGIES = ("formation_energy_per_atom_pred", *_STD)
_LOGARITHMS = ("log_reward", "log_prior", "log_target", "log_pf")
_WITH_ROOM = ("oxidation_states", "log_prior", "log_pf", "charge_neutral", "chemsys", "nelements", "nsites")


def people_columns(names: Sequence[str], has_novelty: bool) -> list[str]:
    """Choose the columns that people see, at most MOST_COLUMNS, in order.

    What an object is (with the columns that its world adds), log R, the reward's terms in the order of the config, then
    how often it was drawn, novelty, predicted energy and uncertainty, and, with room left, what else helps reading.

    Args:
        names: of the full table, in its order.
        has_novelty: whether there is a reference that `is_novel` is judged by.
    """
    is_crystal = "protostructure" in names
    before = names[: names.index("log_reward")]
    of_world = [name for name in before if name not in _NAMED and name not in _FULL_ONLY]
    crystal_only = ("space_group_symbol", "wyckoff_label")
    what = [name for name in _NAMED if name in names and (is_crystal or name not in crystal_only)]
    terms = [name for previous, name in _terms(names).items() if previous]
    std = next((name for name in _STD if name in names), "")
    energy = "formation_energy_per_atom_pred"
    if "formation_energy_ev_per_atom" in terms or "crystal_formation_energy_ev_per_atom" in terms:
        energy = ""  # a term says it already
    always = [name for name in ("is_novel" if has_novelty else "", "n_times_sampled", energy, std) if name in names]
    head = [*what, *of_world, "log_reward"]
    n_terms = max(MOST_COLUMNS - len(head) - len(always), 1)
    chosen = [*head, *terms[:n_terms], *always]
    chosen += [name for name in _WITH_ROOM if name in names and name not in chosen]
    return list(dict.fromkeys(chosen))[:MOST_COLUMNS]


def _terms(names: Sequence[str]) -> dict[str, str]:
    """The column of values of each reward term, by the term's name: the one before its `_valid`."""
    found = {}
    for place, name in enumerate(names):
        term = name.removesuffix("_valid")
        if term != name and place and f"{term}_log_score" in names:
            found[term] = names[place - 1]
    return found


def for_people(frame: pd.DataFrame, columns: Sequence[str], log_reward_decimals: int) -> pd.DataFrame:
    """Give rows of the full table as people read them: few columns, and numbers with the digits that they mean.

    Energies have three decimals, log R and log P0 as many as `log_reward_decimals`, other logarithms two, everything
    else four significant digits. The numbers are text, so that 0.100 stays that. A missing one is empty.
    """
    shown = {}
    for name in columns:
        cells = frame[name]
        if cells.dtype.kind != "f":
            shown[name] = cells
            continue
        values = cells.to_numpy(dtype=np.float64)
        if name in _LOGARITHMS or name.endswith("_nats"):
            decimals = log_reward_decimals if name in _LOGARITHMS else LOG_REWARD_DECIMALS
            shown[name] = _fixed(values, decimals)
        elif name in _ENERGIES or name.endswith("_ev_per_atom"):
            shown[name] = _fixed(values, _ENERGY_DECIMALS)
        else:
            shown[name] = _significant(values)
    return pd.DataFrame(shown, index=frame.index)


def _fixed(values: np.ndarray, decimals: int) -> list[str | None]:
    return [None if value != value else f"{round(value, decimals) + 0.0:.{decimals}f}" for value in values.tolist()]


def _significant(values: np.ndarray) -> list[str | None]:
    """Four significant digits, all those before the point, and no zeros behind the last one."""
    out: list[str | None] = []
    for value in values.tolist():
        if value != value or value in (np.inf, -np.inf):
            out.append(None if value != value else str(value))
        elif value == 0:
            out.append("0")
        elif abs(value) < 1e-4:
            out.append(f"{value:.{_SIGNIFICANT - 1}e}")
        else:
            decimals = max(_SIGNIFICANT - 1 - int(np.floor(np.log10(abs(value)))), 0)
            text = f"{value:.{decimals}f}"
            out.append(text.rstrip("0").rstrip(".") if "." in text else text)
    return out
