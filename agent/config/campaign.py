"""The config of a campaign: typed, closed, with one line of prose a field."""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from oreflow.agent.config.closed_model import Closed
from oreflow.agent.config.run import override_config, read_yaml, validate_config
from oreflow.agent.errors import ConfigError
from oreflow.envs.suggestions import nearest


class CampaignConfig(Closed):
    """Rounds of sample, screen, realise, relax and learn."""

    schema_version: Literal[1] = Field(description="version of this schema")
    purpose: str = Field("", description="one line on what the campaign is for and what to expect")
    seed: int = Field(0, ge=0, description="root of all random streams")
    run: str | None = Field(None, description="a trained run folder to draw from, or the config of a run to train")
    train: dict[str, Any] | None = Field(None, description="the config of a run to train, in place of `run`")
    rounds: int = Field(5, ge=1, description="rounds of drawing, relaxing and learning")
    draws: int = Field(1000, ge=1, description="objects drawn in each round")
    relaxations: int = Field(
        50, ge=1, description="referee calls of each round; what one leaves over, the next may use"
    )
    minutes: float | None = Field(None, gt=0, description="no round begins after so many minutes of work")
    geometries: int = Field(1, ge=1, le=10, description="geometries of each decoration that are relaxed")
    rank: Literal["chgnet", "contacts"] | None = Field(
        None, description="what tells the best geometries, as `realise --rank`; null: chgnet where it is installed"
    )
    potential: str = Field("chgnet", description="the referee, a name that `relax --potential` takes")
    track: Literal["held", "both"] = Field(
        "held", description="held: energies with symmetry held; both: those after a rattle and a free relaxation"
    )
    steps: int = Field(500, ge=1, description="steps of a relaxation, at most")
    hull: str = Field("predicted", description="known phases whose hull referee and surrogate are compared with")
    aligned_by: str | None = Field(None, description="formation energies on the referee's scale, to align `hull` to")
    max_residual: float = Field(0.1, gt=0, description="eV/atom that the alignment may leave in the mean")
    model: str | None = Field(None, description="the surrogate, a crystal model; null: the one that ships")
    novelty: str | None = Field(None, description="known crystals, which are not picked and are no hits")
    threshold: float = Field(0.08, description="eV/atom above the hull, at most, of a stable crystal")
    explore: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the picks that go by a draw from the prediction's error, but in the last round",
    )
    calibration: Literal["gaussian_process", "none"] = Field(
        "gaussian_process", description="how the surrogate learns from what came out; none: it never does"
    )
    failed_ev_per_atom: float = Field(
        0.5, gt=0, description="what a decoration that fell apart counts as, above the hull; higher ones count as this"
    )

    @model_validator(mode="after")
    def _draws_from_one_run(self) -> "CampaignConfig":
        if (self.run is None) == (self.train is None):
            raise ValueError(
                "expected one of run (a trained run folder, or a config) and train (the config itself), got "
                + ("neither" if self.run is None else "both")
            )
        if self.threshold >= self.failed_ev_per_atom:
            raise ValueError(
                f"expected failed_ev_per_atom above threshold, so that what fell apart is not stable, got "
                f"{self.failed_ev_per_atom:g} and {self.threshold:g}"
            )
        return self


def load_campaign(path: str | Path, overrides: list[str] | None = None, seed: int | None = None) -> CampaignConfig:
    """Reads, overrides and validates the config of a campaign.

    Args:
        overrides: texts "a.b=value", the value in YAML.

    Raises:
        ConfigError: naming the key, what was expected and the nearest known key.
    """
    data = override_config(read_yaml(path), overrides or [], seed)
    try:
        config = CampaignConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_explain(fault) for fault in error.errors())) from None
    if config.train is not None:
        validate_config(config.train, f"{path}: train")
    return config


def _explain(fault: Any) -> str:
    location = ".".join(str(part) for part in fault["loc"]) or "the campaign"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {location}; {nearest(location, CampaignConfig.model_fields)}"
    if fault["type"] == "missing":
        return f"{location} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    shown = "" if fault["type"] == "value_error" else f", got {str(fault['input'])[:60]!r}"
    return f"{location}: {message}{shown}"


def dump_campaign(config: CampaignConfig) -> str:
    """The resolved config as YAML that `load_campaign` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
