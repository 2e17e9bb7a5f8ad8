"""All distinct decorations that were drawn so far, and what is known of each."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from oreflow.agent.campaigns.calibration import Inputs
from oreflow.agent.campaigns.surrogate import Surrogate
from oreflow.agent.tables.formulas import read_table
from oreflow.agent.tables.structures import crystals_of
from oreflow.envs.arrays import Bools
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.formulas import formula_columns
from oreflow.envs.objects.labels import protostructure_labels, wyckoff_labels
from oreflow.envs.structure_io.crystal_text import crystal_to_text

_OF_FORMULA = ("formula_pretty", "formula_reduced", "chemsys")


@dataclass
class Pool:
    """Decorations in the order in which they were first drawn.

    Attributes:
        frame: one row each: `candidate_id` (round and row of the table that it was drawn in), `drawn_in_round`, the
            formula's columns, `decoration` (the protostructure, equal for all choices of origin and axes).
        inputs: of each row, what a calibration reads.
        may_be_picked: bool [row]: in the surrogate's scope, the potential's elements alone, no hole of the hull, and
            not known.
        left_out: how many are not, by the first reason that holds.
        n_drawn: rows of each round's table.
    """

    frame: pd.DataFrame
    inputs: Inputs
    may_be_picked: Bools
    left_out: dict[str, int]
    n_drawn: list[int]

    def places(self, decorations: list[str]) -> list[int]:
        """Rows of decorations, in their order."""
        place_of = {name: place for place, name in enumerate(self.frame["decoration"])}
        return [place_of[name] for name in decorations]


def read_pool(samples: Sequence[Path], surrogate: Surrogate, elements: frozenset[int], known: Container[str]) -> Pool:
    """Read the tables of all rounds so far and screen what they hold.

    Args:
        samples: candidate tables, of round 1, 2, …
        surrogate: that screens them.
        elements: atomic numbers that the potential knows.
        known: protostructures that are known.

    Raises:
        TableError: when a table cannot be read, or holds no crystal.
    """
    frames, batches, n_drawn = [], [], []
    for number, path in enumerate(samples, start=1):
        table = read_table(path)
        crystals, rows, _ = crystals_of(table, str(path), decorations=True)
        n_drawn.append(len(table))
        frame = pd.DataFrame(
            {
                "candidate_id": [f"r{number}-{name}" for name in table["candidate_id"].iloc[rows]],
                "drawn_in_round": number,
                **{k: v for k, v in formula_columns(crystals.compositions.reduced()).items() if k in _OF_FORMULA},
                "space_group_number": crystals.space_group.astype(np.int64),
                "wyckoff_label": wyckoff_labels(crystals),
                "decoration": protostructure_labels(crystals),
                "structure": crystal_to_text(crystals),
            }
        )
        frames.append(frame)
        batches.append(crystals)
    joined = pd.concat(frames, ignore_index=True)
    times = joined["decoration"].value_counts()
    first = np.flatnonzero(~joined["decoration"].duplicated().to_numpy())
    frame = joined.iloc[first].reset_index(drop=True)
    frame["n_times_sampled"] = frame["decoration"].map(times).astype(np.int64)
    crystals = Crystals.concatenate(batches)[first]
    screened = surrogate.screen(crystals)
    frame["predicted_ev_per_atom"] = np.where(screened.in_scope, screened.inputs.predicted, np.nan)
    frame["predicted_std_ev_per_atom"] = np.where(screened.in_scope, screened.inputs.std, np.nan)
    z = crystals.compositions.atomic_numbers
    foreign = ((z > 0) & ~np.isin(z, sorted(elements))).any(axis=1)
    reasons = {
        "elements that the potential does not know": foreign,
        "no prediction by the surrogate": ~screened.in_scope,
        "a hole of the hull": np.array([bool(text) for text in screened.holes], dtype=np.bool_),
        "known": np.array([name in known for name in frame["decoration"]], dtype=np.bool_),
    }
    left = np.ones(len(frame), dtype=np.bool_)
    left_out = {}
    for reason, holds in reasons.items():
        left_out[reason] = int((left & holds).sum())
        left &= ~holds
    return Pool(frame, screened.inputs, left, left_out, n_drawn)
