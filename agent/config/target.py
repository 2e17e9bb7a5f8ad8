"""The section `target` of a config: what the samples are to be distributed as."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from oreflow.agent.config.closed_model import Closed

Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TargetConfig(Closed):
    """P(x) is R(x)/Z; with a prior P0(x) R(x)^(1/tau)/Z; with shares of strata g, p(g) R(x)/Z_g.

    Strata are the space groups of crystals, or the numbers of elements of formulas.
    """

    prior: str | None = Field(None, description="a run of sampler.kind prior in the same world, whose law is P0")
    tau: float = Field(1.0, gt=0, allow_inf_nan=False, description="with a prior: R counts to the power of 1 / tau")

    least_log_prior: float | None = Field(
        None,
        lt=0,
        allow_inf_nan=False,
        description="with a prior and sampler.kind rejection: objects of a smaller log P0, in nats and all build "
        "orders summed, are left out; what is likely under known compounds survives a relaxation more often",
    )
    space_groups: Literal["counted", "uniform", "by_system", "known", "power"] | dict[str, Share] = Field(
        "counted",
        description="shares of the space groups: counted, whatever R/Z over all of them gives; uniform; by_system, the "
        "crystal systems alike; known, as a reference has them; power, Z_G^power; or a mapping of numbers, symbols and "
        "systems to shares",
    )
    power: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="power: 1 is R/Z, 0 uniform, between them groups are less unequal"
    )
    n_elements: Literal["counted", "uniform", "known"] | dict[int, Share] = Field(
        "counted",
        description="shares of the numbers of distinct elements in a formula: counted; uniform; known; or a mapping of "
        "numbers to shares",
    )
    reference: str | None = Field(
        None,
        description="known: structures, or for n_elements formulas too, of which it is counted how many have each; "
        "without it the compounds that the prior was fitted on are",
    )
    measure: Literal["counted", "density", "normalised"] = Field(
        "counted",
        description="counted: every geometry bin is an object, so that finer bins weigh more; density: R counts as a "
        "density over geometries, whatever the bins; normalised: a decoration counts by the terms that read no "
        "geometry, and the others choose among its geometries alone",
    )

    @model_validator(mode="after")
    def _known_has_a_reference(self) -> "TargetConfig":
        known = "known" in (self.space_groups, self.n_elements)
        if (known and self.reference is None and self.prior is None) or (self.reference is not None and not known):
            raise ValueError(
                "reference: expected known compounds, or a prior of them, with space_groups: known (structures) or "
                "n_elements: known (formulas or structures), and none with anything else, got "
                f"{self.reference!r}; add it, or take it out"
            )
        if (self.space_groups == "power") != (self.power is not None):
            raise ValueError(
                f"power: expected a number of 0 or more with space_groups: power, and none with anything else, got "
                f"{self.power!r}; set both, or neither"
            )
        if self.prior is None and self.tau != 1:
            raise ValueError("tau: expected a prior beside it; without one give the reward's shapes another beta")
        if self.prior is None and self.least_log_prior is not None:
            raise ValueError("least_log_prior: expected a prior beside it, whose probability is meant; add one")
        if isinstance(self.space_groups, dict) and not any(self.space_groups.values()):
            raise ValueError("space_groups: expected at least one share above 0")
        if isinstance(self.n_elements, dict) and not any(self.n_elements.values()):
            raise ValueError(
                f"n_elements: expected at least one share above 0, got {self.n_elements}; raise one, or choose uniform"
            )
        return self

    @property
    def prescribes_groups(self) -> bool:
        """Tell whether the space groups have shares of their own."""
        return self.space_groups != "counted"

    @property
    def prescribes_numbers(self) -> bool:
        """Tell whether the numbers of elements have shares of their own."""
        return self.n_elements != "counted"
