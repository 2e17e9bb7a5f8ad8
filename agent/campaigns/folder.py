"""Where a campaign keeps what: one folder a round, each file of it whole or not at all.

DIR/campaign.yaml           the resolved config, which the same folder goes on with
DIR/run/                    the sampler, where the campaign trains one
DIR/round_01/samples/       drawn
DIR/round_01/picks.csv      picked, before any of them is realised
DIR/round_01/realised/      geometries, with a journal
DIR/round_01/relaxed/       relaxed, with a journal
DIR/round_01/outcome.csv    what became of the picks
DIR/round_01/round.json     figures; the round is over
DIR/campaign.csv            the outcomes of all rounds
DIR/summary.json
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from oreflow.agent.config.campaign import CampaignConfig, dump_campaign, load_campaign
from oreflow.agent.errors import RunFolderError
from oreflow.agent.storage.atomic_files import to_json, write_text
from oreflow.agent.storage.manifest import add_to_manifest, check_place
from oreflow.agent.tables.formulas import read_table, write_csv

CONFIG_FILE, TABLE_FILE, SUMMARY_FILE, RUN_FOLDER = "campaign.yaml", "campaign.csv", "summary.json", "run"
_MAY_CHANGE = ("rounds", "minutes", "purpose")


class RoundFolder:
    """The files of one round.

    Args:
        campaign: its folder.
        number: of the round, 1 for the first.
    """

    def __init__(self, campaign: Path, number: int) -> None:
        self.path = campaign / f"round_{number:02d}"
        self.number = number

    @property
    def samples(self) -> Path:
        """Folder of what was drawn."""
        return self.path / "samples"

    @property
    def is_drawn(self) -> bool:
        """Whether drawing is over: the summary comes to its place last."""
        return (self.samples / "summary.json").is_file()

    @property
    def picks(self) -> Path:
        """Table of what was picked."""
        return self.path / "picks.csv"

    @property
    def realised(self) -> Path:
        """Folder of the geometries."""
        return self.path / "realised"

    @property
    def relaxed(self) -> Path:
        """Folder of the relaxed structures."""
        return self.path / "relaxed"

    @property
    def outcome(self) -> Path:
        """Table of what became of the picks."""
        return self.path / "outcome.csv"

    @property
    def figures_path(self) -> Path:
        """The figures, which are written when the round is over."""
        return self.path / "round.json"

    def figures(self) -> dict[str, Any] | None:
        """What the round came to; None while it is not over.

        Raises:
            RunFolderError: when the file is damaged.
        """
        try:
            return dict(json.loads(self.figures_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise RunFolderError(
                f"{self.figures_path} is damaged; take it out, and the same command judges the round again"
            ) from None

    def finish(self, outcome: pd.DataFrame, figures: dict[str, Any]) -> None:
        """Write what the round came to; it is over when the second file is there."""
        write_csv(outcome, self.outcome)
        write_text(self.figures_path, to_json(figures))


def claim(out: Path, config: CampaignConfig) -> None:
    """Write the config into the folder, or see that the campaign that is there has the same.

    Raises:
        RunFolderError: when it has another one; naming the keys.
        PlaceError: when files of others are in the way.
    """
    path = out / CONFIG_FILE
    check_place(out, [CONFIG_FILE, TABLE_FILE, SUMMARY_FILE], overwrite=True)
    if path.is_file():
        old, new = load_campaign(path).model_dump(), config.model_dump()
        changed = [key for key in new if old[key] != new[key] and key not in _MAY_CHANGE]
        if changed:
            said = ", ".join(f"{key} {_short(old[key])} (now {_short(new[key])})" for key in changed)
            raise RunFolderError(
                f"{out} holds a campaign with {said}; choose another --out, or go on with the config that it began with"
            )
    add_to_manifest(out, [CONFIG_FILE, TABLE_FILE, SUMMARY_FILE])
    write_text(path, dump_campaign(config))


def read_outcome(path: Path) -> pd.DataFrame:
    """An outcome or a table of picks as it was written, numbers where there are some."""
    frame = read_table(path)
    for column in frame.columns:
        if str(column).endswith(("_ev_per_atom", "p_stable")):
            frame[column] = pd.to_numeric(frame[column], errors="coerce")
    return frame


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
