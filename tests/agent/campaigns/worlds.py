"""A small world of binary metals, a run that draws from it at random, and campaigns with a referee known by hand."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import oreflow
from oreflow.agent.campaigns.rounds import Campaign
from oreflow.agent.config.campaign import CampaignConfig
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.rewards.potential.listing import POTENTIALS
from tests.support.campaign_fakes import ELEMENTS, REFERENCES, make_fake

FAKE = "fake_of_campaigns"
RUN = """
schema_version: 1
purpose: "binary metals in cubic groups, drawn at random; expect nothing of it"
world: {kind: wyckoff, elements: [Al, Ni, Cu, Pd, Ag, Au], n_elements: [2, 2], n_atoms: [2, 8],
        space_groups: [221, 225], neutrality: "off", geometry: false}
reward: {terms: [{name: crystal_formation_energy, shape: {kind: minimise, beta: 1.0}}]}
sampler: {kind: random, steps: 1, batch: 8}
run: {threads: 1, log_every_steps: 1, checkpoint_every_steps: 1}
"""


def register_fake(folder: Path) -> None:
    """The potential that configs of these tests name, which is forgotten after each; what relaxes is given apart."""
    if FAKE in POTENTIALS.own:
        return
    references = folder / "references.csv"
    references.write_text(REFERENCES, encoding="utf-8")
    oreflow.register_potential(FAKE, elements=ELEMENTS, functional="none", references=references)(lambda: None)


def settings(run: Path, **changed: Any) -> dict[str, Any]:
    """Plain data of a campaign of two rounds of four relaxations."""
    data = {
        "schema_version": 1,
        "run": str(run),
        "rounds": 2,
        "draws": 40,
        "relaxations": 4,
        "rank": "contacts",
        "potential": FAKE,
        "explore": 0.25,
    }
    return data | changed


def campaign(run: Path, out: Path, **changed: Any) -> Campaign:
    register_fake(run.parent)
    config = CampaignConfig.model_validate(settings(run, **changed))
    make: Callable[..., Any] = partial(make_fake, str(out) + "_calls.txt")
    return Campaign(config, out, RunFolder(config.run or ""), make=make)


def calls(out: Path) -> list[str]:
    """What the referee was asked, a line a call."""
    path = Path(f"{out}_calls.txt")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "campaign.csv")
