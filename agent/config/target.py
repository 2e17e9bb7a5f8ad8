"""The section `target` of a config: what the samples are to be distributed as."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from oreflow.agent.config.closed_model import Closed

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TargetConfig(Closed):
    """P(x) is R(x)/Z; with a prior P0(x) R(x)^(1/tau)/Z; for crystals with shares of space groups G, p(G) R(x)/Z_G."""

    prior: str | None = Field(None, description="a run of sampler.kind prior in the same world, whose law is P0")
    tau: float = Field(1.0, gt=0, allow_inf_nan=False, description="with a prior: R counts to the power of 1 / tau")

    space_groups: Literal["counted", "uniform", "by_system", "known"] | dict[str, Share] = Field(
        "counted",
        description="shares of the space groups: counted, whatever R/Z over all of them gives; uniform; by_system, the "
        "crystal systems alike; known, as a reference has them; or a mapping of numbers, symbols and systems to shares",
    )
    reference: str | None = Field(
        None, description="known: file or folder of structures whose space groups are counted"
    )
    measure: Literal["counted", "density"] = Field(
        "counted",
        description="counted: every geometry bin is an object, so that finer bins weigh more; density: R counts as a "
        "density over geometries, whatever the bins",
    )

    @model_validator(mode="after")
    def _known_has_a_reference(self) -> "TargetConfig":
        if (self.space_groups == "known") != (self.reference is not None):
            raise ValueError("reference: expected structures with space_groups: known, and none with anything else")
        if self.prior is None and self.tau != 1:
            raise ValueError("tau: expected a prior beside it; without one give the reward's shapes another beta")
        if isinstance(self.space_groups, dict) and not any(self.space_groups.values()):
            raise ValueError("space_groups: expected at least one share above 0")
        return self

    @property
    def prescribes_groups(self) -> bool:
        """Tell whether the space groups have shares of their own."""
        return self.space_groups != "counted"
