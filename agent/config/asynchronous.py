"""The section `run.asynchronous` of a config: training that does not wait for each reward."""

from pydantic import Field

from oreflow.agent.config.closed_model import Closed


class AsynchronousConfig(Closed):
    """Training goes on while isolated rewards are computed, with those that have come back.

    Without any key set it already holds: `asynchronous: {}`.
    """

    max_waiting: int = Field(256, ge=1, description="objects that wait for a reward at once; beyond, a step waits, too")
    max_stale_steps: int | None = Field(
        None, ge=1, description="a step waits for objects that were submitted so many steps before; null: for none"
    )
    budget_calls: int | None = Field(
        None,
        ge=1,
        description="values of isolated rewards that may be paid for; then training goes on with what is there",
    )
    budget_cost: float | None = Field(
        None, gt=0, description="the same in the unit of the terms' `cost`: no value is submitted that would exceed it"
    )
