"""The config of a run: typed, closed, with one line of prose a field.

Every unknown key is an error that names the nearest known one, every value is checked before any work starts, and the
resolved config, defaults filled in, is written beside each result.
"""

import math
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from oreflow.agent.config.closed_model import Closed
from oreflow.agent.config.consistency import (
    check_asynchronous,
    check_executor,
    check_family,
    check_known,
    check_measured,
    check_rejection,
    check_target,
)
from oreflow.agent.config.sampler import SamplerConfig
from oreflow.agent.config.sections import RewardConfig, RunConfig, TermConfig
from oreflow.agent.config.strict_yaml import parse_yaml
from oreflow.agent.config.target import TargetConfig
from oreflow.agent.config.world import AnyWorld, PartConfig, WorldSection, section_of
from oreflow.agent.errors import ConfigError
from oreflow.envs.chemistry.oxidation import resolve_table
from oreflow.envs.registry import WORLDS
from oreflow.envs.suggestions import nearest
from oreflow.rewards.shaping import BOUNDED_SHAPES

SCHEMA_VERSION = 1
# These take an oxidation-state table.
TABLE_TERMS = ("bond_valence", "charge_balance", "electronegativity_balance", "smact_validity")


class Config(Closed):
    """A run."""

    schema_version: Literal[1] = Field(description="version of this schema")
    purpose: str = Field("", description="one line on what the run is for and what to expect")
    seed: int = Field(0, ge=0, description="root of all random streams")
    world: AnyWorld = Field(description="what may be built: compositions, crystals (kind: wyckoff), or another kind")
    reward: RewardConfig
    target: TargetConfig = TargetConfig()
    sampler: SamplerConfig = SamplerConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _world_has_its_terms(self) -> "Config":
        names = [term.name for term in self.reward.terms]
        for name, reason in self.world.terms_needed().items():
            if name not in names:
                raise ValueError(reason)
        return self

    @property
    def largest_log_reward(self) -> float:
        """What log R cannot exceed."""
        bounded = all(term.shape.get("kind") in BOUNDED_SHAPES for term in self.reward.terms)
        return min(self.reward.log_max, 0.0) if bounded else self.reward.log_max

    def target_shape(self) -> dict[str, Any]:
        """The shape of the term that a family of targets asks for."""
        name = self.sampler.family.term
        return next(term.shape for term in self.reward.terms if (term.label or term.name) == name)

    @model_validator(mode="after")
    def _sections_go_together(self) -> "Config":
        checks = check_executor, check_target, check_rejection, check_known, check_measured, check_family
        for check in (*checks, check_asynchronous):
            check(self)
        return self

    @model_validator(mode="after")
    def _tables_stand_in_the_config(self) -> "Config":
        for i, term in enumerate(self.reward.terms):
            if term.name in TABLE_TERMS and term.params.get("table") is not None:
                try:
                    term.params["table"] = resolve_table(term.params["table"]).spec()
                except ValueError as error:
                    raise ValueError(f"reward.terms.{i} ({term.name}): table: {error}") from None
        return self


def load_config(path: str | Path, overrides: list[str] | None = None, seed: int | None = None) -> Config:
    """Reads, overrides and validates a config.

    Args:
        overrides: texts "a.b=value", the value in YAML.

    Raises:
        ConfigError: naming the key, what was expected and the nearest known key.
    """
    return validate_config(override_config(read_yaml(path), overrides or [], seed), str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a file of YAML holds.

    Raises:
        ConfigError: when it cannot be read, or holds something else.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"cannot read the config {path}: {reason}") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"expected a mapping at the top of {path}, got {type(data).__name__}")
    return data


def override_config(data: dict[str, Any], overrides: list[str], seed: int | None) -> dict[str, Any]:
    """Apply texts "a.b=value" and a seed to plain data in place, and return it.

    Raises:
        ConfigError: for a text of another form, or a path through a value.
    """
    for override in overrides:
        _apply_override(data, override)
    if seed is not None:
        data["seed"] = seed
    return data


def _apply_override(data: dict[str, Any], override: str) -> None:
    path, separator, value = override.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"expected --set a.b=value, got {override!r}")
    target: Any = data
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        if isinstance(target, list):
            if not key.isdigit() or int(key) >= len(target):
                raise ConfigError(f"--set {path}: expected an index below {len(target)}, got {key!r}")
            index: Any = int(key)
        elif isinstance(target, dict):
            index = key
        else:
            raise ConfigError(f"--set {path}: {'.'.join(keys[:position])} holds a value, not a section")
        if last:
            target[index] = parse_yaml(value, f"--set {path}")
        else:
            target = target.setdefault(index, {}) if isinstance(target, dict) else target[index]


def term_parameters(texts: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    """Parameters of reward terms from texts "name.key=value", the value in YAML.

    Raises:
        ConfigError: for another form, or a term that is not among `names`.
    """
    out: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, separator, value = text.partition("=")
        name, dot, key = path.strip().partition(".")
        if not (separator and dot and name and key):
            raise ConfigError(f"expected --param NAME.KEY=VALUE, got {text!r}")
        if name not in names:
            raise ConfigError(f"--param {path}: expected a reward given by --reward; {nearest(name, names)}")
        out.setdefault(name, {})[key] = parse_yaml(value, f"--param {path}")
    return out


def validate_config(data: dict[str, Any], source: str) -> Config:
    """Validates plain data as a config.

    Raises:
        ConfigError: one line for each fault.
    """
    try:
        config = Config.model_validate(data)
        config.world.space()
    except ValidationError as error:
        lines = [_explain(fault, data) for fault in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None
    except ValueError as error:
        raise ConfigError(f"{source}: world: {error}") from None
    fault = config.world.settle()
    if fault:
        raise ConfigError(f"{source}: {fault}")
    if not math.isfinite(config.reward.log_min) or config.reward.log_min >= config.reward.log_max:
        raise ConfigError(f"{source}: expected reward.log_min < reward.log_max")
    return config


def _explain(fault: Any, data: dict[str, Any]) -> str:
    loc = list(fault["loc"])
    location = ".".join(str(part) for part in loc) or "the config"
    if fault["type"] == "extra_forbidden":
        model: Any = Config
        entries = {"world": _section(data), "terms": TermConfig, "stoichiometry": PartConfig}
        for part in loc[:-1]:
            if isinstance(part, str):
                model = entries[part] if part in entries else _section_in(model.model_fields[part].annotation)
        known = getattr(model, "model_fields", None)
        return f"unknown key {location}" + (f"; {nearest(str(loc[-1]), known)}" if known else "")
    if fault["type"] == "missing":
        return f"{location} is missing"
    if fault["type"] == "kind_of_world":
        kind = fault["input"].get("kind")
        return (
            f"world.kind: expected the name of a world, got {kind!r} (one of your own needs --plugin FILE.py); "
            f"{nearest(str(kind), WORLDS.names())}"
        )
    message = fault["msg"].removeprefix("Value error, ")
    shown = "" if fault["type"] == "value_error" else f", got {str(fault['input'])[:60]!r}"
    return f"{location}: {message}{shown}"


def _section_in(annotation: Any) -> Any:
    """The section that an annotation names, also where it may be left out."""
    return next((part for part in get_args(annotation) if hasattr(part, "model_fields")), annotation)


def _section(data: dict[str, Any]) -> type[WorldSection]:
    """The section of the world that plain data asks for, where it is known."""
    world = data.get("world")
    return section_of(world.get("kind", "composition")) if isinstance(world, dict) else WorldSection


# Parameters that terms got after version 0.4: what stands for what they did before, and the default since.
_LATER_PARAMETERS = {"energy_above_hull": {"holes": ("keep", "avoid")}}


def with_later_parameters(config: Config, new: bool) -> Config:
    """Write parameters that version 0.4 did not know into the terms of a config, which is returned.

    Args:
        new: whether the run is a new one, which gets their defaults, or one that may have been trained before them.
    """
    for term in config.reward.terms:
        for name, (before, default) in _LATER_PARAMETERS.get(term.name, {}).items():
            term.params.setdefault(name, default if new else before)
    return config


def dump_config(config: Config, *, as_given: bool = False) -> str:
    """The resolved config as YAML that `load_config` reads back to an equal config.

    Args:
        as_given: leaves out what has its default, so that what follows from other keys still may.
    """
    return yaml.dump(
        config.model_dump(mode="json", exclude_unset=as_given),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=120,
    )


class _Dumper(yaml.SafeDumper):
    def represent_str(self, data: str) -> Any:
        # Only double quotes keep the line separators of Unicode.
        style = '"' if any(separator in data for separator in "\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
