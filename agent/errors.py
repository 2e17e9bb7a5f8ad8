"""Typed exceptions of the agent: what was expected, what arrived, what to do."""

from envs.errors import OreflowError


class ConfigError(OreflowError, ValueError):
    """A config that cannot be read or breaks a rule."""


class RunFolderError(OreflowError, ValueError):
    """A run folder that is missing, incomplete, or would be overwritten."""


class CheckpointError(OreflowError, ValueError):
    """A checkpoint that is damaged or belongs to another world."""


class TableError(OreflowError, ValueError):
    """A table of formulas that cannot be read."""


class TrainingError(OreflowError, RuntimeError):
    """Training that cannot go on, such as losses that stay non-finite."""
