"""The section `sampler.family` of a config: many rewards that one policy samples from."""

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from oreflow.agent.config.closed_model import Closed
from oreflow.envs.suggestions import nearest

FamilyKind = Literal["temperature", "preference", "target"]
_FAMILY_KINDS = get_args(FamilyKind)


class FamilyConfig(Closed):
    """One policy for a family of rewards; which one is meant is chosen when it samples."""

    kind: Literal["none"] | FamilyKind | list[FamilyKind] = Field(
        "none",
        description="temperature: R^beta for all beta of a range; preference: all weightings of the terms; target: all "
        "values of a property; or several of them, as a list",
    )
    beta: tuple[float, float] = Field(
        (0.5, 2.0), description="temperature: smallest and largest beta; each trajectory draws its own, log-uniformly"
    )
    concentration: float = Field(
        1.0, gt=0, description="preference: of the Dirichlet distribution of the weights; 1 is uniform"
    )
    term: str | None = Field(
        None, description="target: the reward term whose value is asked for; its shape is of kind target"
    )
    range: tuple[float, float] | None = Field(
        None,
        description="target: smallest and largest value to ask for, in the term's unit; each trajectory draws its own, "
        "uniformly",
    )

    hindsight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="target: share of each batch that gflownet also learns from as if about the value that objects "
        "have had been asked for; it costs no reward",
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _known_kinds(cls, kind: Any) -> Any:
        """One of the kinds, or several at once, each once; a list of one is that one."""
        several = list(kind) if isinstance(kind, list | tuple) else []
        if kind == "none" or kind in _FAMILY_KINDS:
            return kind
        if several and all(one in _FAMILY_KINDS for one in several) and len(set(several)) == len(several):
            return several if len(several) > 1 else several[0]
        wrong = next((one for one in several if one not in _FAMILY_KINDS), kind)
        hint = f"; {nearest(wrong, ('none', *_FAMILY_KINDS))}" if isinstance(wrong, str) else ""
        raise ValueError(
            f"expected none, {', '.join(_FAMILY_KINDS)}, or a list of the latter, each once, got {kind!r}{hint}"
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the family; none of them without one."""
        if isinstance(self.kind, list):
            return tuple(self.kind)
        return () if self.kind == "none" else (self.kind,)

    @property
    def in_words(self) -> str:
        """Name the kinds for messages."""
        return " and ".join(self.kinds) or "none"

    @model_validator(mode="after")
    def _range_is_one(self) -> "FamilyConfig":
        low, high = self.beta
        if "temperature" in self.kinds and not 0 < low < high:
            raise ValueError(f"beta: expected 0 < low < high, got {low:g} and {high:g}; change them")
        for key in ("term", "range"):
            given = getattr(self, key)
            if (given is not None) != ("target" in self.kinds):
                raise ValueError(
                    f"{key}: expected with kind target, which asks for values of one reward term in a range, and with "
                    f"no other kind, got kind {self.in_words} and {key} {given!r}; set kind to target, term and range, "
                    f"or leave {key} out"
                )
        if self.range is not None and not self.range[0] < self.range[1]:
            low, high = self.range
            raise ValueError(f"range: expected low < high, got {low:g} and {high:g}; change them")
        return self
