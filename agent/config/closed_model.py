"""The base of all sections of a config: closed to unknown keys, and strict where pydantic would be lenient."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Closed(BaseModel):
    """Refuses unknown keys, NaN and infinity, and booleans in place of numbers."""

    model_config = ConfigDict(extra="forbid", strict=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name and cls.model_fields[info.field_name].annotation in (int, float):
            raise ValueError(f"expected a number, got {str(value).lower()}")
        return value
