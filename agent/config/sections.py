"""The sections `reward` and `run` of a config."""

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from oreflow.agent.config.asynchronous import AsynchronousConfig
from oreflow.agent.config.closed_model import Closed
from oreflow.agent.config.executor import ExecutorConfig


class TermConfig(Closed):
    """One reward term."""

    name: str = Field(description="a name of `oreflow list rewards`")
    params: dict[str, Any] = Field({}, description="parameters of the term")
    shape: dict[str, Any] = Field(description="`kind` and its parameters: how the value becomes a log-score")
    label: str | None = Field(
        None, pattern="^[a-z][a-z0-9_]*$", description="its name in this run, where a term occurs twice"
    )
    isolated: bool = Field(
        False, description="run in processes of its own, on `run.executor`: a crash or a hang costs one formula"
    )
    time_limit_s: float = Field(10.0, gt=0, description="with `isolated`: seconds for one formula")
    workers: int = Field(1, ge=1, description="with `isolated`: worker processes, where run.executor does not say")
    cache: bool | None = Field(
        None, description="remember values by formula; null: all terms but those that ship with oreflow and run here"
    )
    cost: float | None = Field(
        None, ge=0, description="what one value costs, in a unit of yours; recorded in the store, and held to a budget"
    )


class RewardConfig(Closed):
    """What is worth building: log R = beta * sum of the terms' log-scores."""

    terms: list[TermConfig] = Field(min_length=1, description="reward terms; each name once")
    beta: float = Field(1.0, gt=0, description="inverse temperature on log R")
    log_min: float = Field(-50.0, description="lower bound of log R")
    log_max: float = Field(200.0, description="upper bound of log R")
    invalid_budget: float = Field(
        0.01, ge=0, le=1, description="share of objects without a valid reward above which training stops"
    )
    store: str | None = Field(
        None,
        min_length=1,
        description="reward store: a SQLite file, or a database's URL; a value that it holds is not computed again",
    )

    @field_validator("store")
    @classmethod
    def _holds_no_password(cls, store: str | None) -> str | None:
        # The config is written into every run's record.
        if store is not None and re.match(r"[^/]*://[^/@]*:[^/@]*@", store):
            raise ValueError(
                "expected a URL without a password, which would stand in each run's record; leave it to the database's "
                "own means, such as ~/.pgpass or PGPASSWORD"
            )
        return store


class RunConfig(Closed):
    """Housekeeping."""

    threads: int = Field(2, ge=1, description="threads of torch and numba; results repeat exactly with 1")
    log_every_steps: int = Field(20, ge=1, description="steps between two lines of metrics.jsonl")
    checkpoint_every_steps: int = Field(
        500, ge=1, description="steps between checkpoints; the last step always has one"
    )
    keep_checkpoints: int = Field(2, ge=1, description="how many of the newest checkpoints stay")
    measure_every: int = Field(
        0,
        ge=0,
        description="steps between lines of metrics.jsonl that also measure the sampler on draws and, where the world "
        "can be enumerated, exactly; 0: none",
    )
    asynchronous: AsynchronousConfig | None = Field(
        None, description="a section turns it on: objects wait for isolated rewards while training goes on; null: off"
    )

    executor: ExecutorConfig = ExecutorConfig()

    @model_validator(mode="after")
    def _measures_where_it_logs(self) -> "RunConfig":
        if self.measure_every % self.log_every_steps:
            raise ValueError(
                f"measure_every: expected a multiple of log_every_steps ({self.log_every_steps}), in whose lines the "
                f"figures stand, got {self.measure_every}; change either"
            )
        return self
