"""The order of distinct candidates in their table: rank, and the spread of the first page."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from oreflow.agent.sampling.rows.store import RowStore
from oreflow.agent.sampling.trained_run import TrainedRun
from oreflow.agent.tables.people import LOG_REWARD_DECIMALS
from oreflow.agent.tables.ranking import (
    MOST_OF_ONE_ANION,
    MOST_RARE_EARTH_MIXTURES,
    PAGE_IS_DRAWN_FROM,
    WITHIN_NATS,
    first_page,
    meaningful_decimals,
    ranked,
)
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.anions import are_rare_earth_mixtures
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.reference.tables import read_formula

# The first of these that a table has; `scored` knows what the hull lacks.
_HULL = tuple(f"{of}energy_above_hull_{kind}" for kind in ("scored", "ev_per_atom") for of in ("", "crystal_"))
_STD = ("energy_above_hull_std", "crystal_energy_above_hull_std", "formation_energy_std")


class Order(NamedTuple):
    """In which order rows are written.

    Attributes:
        rows: int64 [row], the numbers of the rows as they came.
        ranks: int64 [row], the rank of each of `rows`, from 1.
        first_page: what the summary says of the first rows; None without formulas.
    """

    rows: Ints
    ranks: Ints
    first_page: dict[str, Any] | None


def decimals_of(rows: RowStore) -> int:
    """Say how many decimals of log R mean something, by the column `log_reward_std` where there is one."""
    return meaningful_decimals(_column(rows, "log_reward_std"))


def order_of(run: TrainedRun, rows: RowStore, decimals: int) -> Order:
    """Rank the rows, and bring those of the first page before the others.

    Args:
        rows: of distinct objects.
        decimals: of log R that mean something.
    """
    if run.config.sampler.kind == "prior":  # whose law is no prediction
        decimals = LOG_REWARD_DECIMALS
    return order_by(_merit(run, rows), rows, decimals)


def order_by(merit: Floats, rows: RowStore, decimals: int) -> Order:
    """Rank the rows by a merit, and bring those of the first page before the others.

    Args:
        merit: float64 [row], nats.
        rows: of distinct objects.
        decimals: of the merit that mean something.
    """
    hull = next((name for name in _HULL if name in rows.schema.names), "")
    std = next((name for name in _STD if name in rows.schema.names), "")
    sizes = [_column(rows, name).astype(np.int64) for name in ("nelements", "nsites") if name in rows.schema.names]
    by_rank = ranked(merit, decimals, _column(rows, hull), _column(rows, std), sizes)
    ranks = np.arange(1, len(by_rank) + 1)
    best = by_rank[:PAGE_IS_DRAWN_FROM]
    if "anion" not in rows.schema.names or not len(best):
        return Order(by_rank, ranks, None)
    table = next(rows.chunks(best, len(best))).to_pandas()
    mixtures = np.array(are_rare_earth_mixtures(_compositions(table)), dtype=np.bool_)
    page = first_page(merit[best], table["anion"].tolist(), mixtures)
    places = np.concatenate([page, np.setdiff1d(np.arange(len(by_rank)), page)])
    counts = table["anion"].iloc[page].value_counts()
    note = {
        "n_rows": len(page),
        "anion_chemistries": {str(name): int(n) for name, n in counts.items()},
        "n_rare_earth_mixtures": int(mixtures[page].sum()),
        "last_rank": int(page.max()) + 1,
        "rule": (
            f"at most {MOST_OF_ONE_ANION} of one anion chemistry and {MOST_RARE_EARTH_MIXTURES} with two rare earths "
            f"or more, where others are at most {WITHIN_NATS:g} nat behind"
        ),
    }
    return Order(by_rank[places], ranks[places], note)


def _merit(run: TrainedRun, rows: RowStore) -> Floats:
    """What distinct rows are ranked by: log R, with a prior log P0 + log R / tau, and draws of a prior by its own law.

    Shares of strata and measures play no part: they say how many rows of a kind come, not which of them is the better.
    """
    log_reward = rows.column("log_reward")
    if run.config.sampler.kind == "prior":  # which is fitted whatever the reward
        merit = rows.column("log_pf")
    elif run.prior is None:
        return log_reward
    else:
        merit = rows.column("log_prior") + log_reward / run.config.target.tau
    return np.where(np.isfinite(merit), merit, -np.inf)


def _column(rows: RowStore, name: str) -> Floats:
    """A column of numbers, float64 [row]; NaN where there is none."""
    return rows.column(name) if name in rows.schema.names else np.full(len(rows), np.nan)


def _compositions(table: pd.DataFrame) -> Compositions:
    return Compositions.from_dicts([read_formula(text) for text in table["formula_reduced"]])
