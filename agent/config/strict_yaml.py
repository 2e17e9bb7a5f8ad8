"""The text of a config as plain data, and its faults as errors of the config."""

from typing import Any

import yaml

from oreflow.agent.errors import ConfigError
from oreflow.envs.strict_yaml import StrictLoader


def parse_yaml(text: str, source: str) -> Any:
    """Read a text as YAML: plain data.

    Raises:
        ConfigError: in one line that names the source.
    """
    try:
        return yaml.load(text, Loader=StrictLoader)
    except yaml.YAMLError as error:
        text = " ".join(str(error).split()).replace("<unicode string>", source)
        raise ConfigError(f"{source} is no valid YAML: {text}") from None
    except ValueError as error:  # a date that does not exist, a number of thousands of digits
        raise ConfigError(f"{source} holds an unreadable value: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source} is nested too deeply") from None
