"""The configs that ship, by name: those of runs/configs, which the wheel holds too."""

from importlib.resources import files
from importlib.resources.abc import Traversable

from oreflow.agent.errors import ConfigError
from oreflow.envs.suggestions import nearest


def shipped_configs() -> tuple[str, ...]:
    """Names of the configs that ship, in alphabetic order."""
    folder = files("oreflow.agent").joinpath("configs")
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def shipped_config(name: str) -> Traversable:
    """Return a config that ships, as a file to read.

    Raises:
        ConfigError: for an unknown name, with the nearest one.
    """
    names = shipped_configs()
    if name not in names:
        raise ConfigError(f"expected the name of a config that ships, got {name!r}; {nearest(name, names)}")
    return files("oreflow.agent").joinpath("configs", f"{name}.yaml")
