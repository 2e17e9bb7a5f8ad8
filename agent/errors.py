"""Typed exceptions of the agent: what was expected, what arrived, what to do."""

from oreflow.envs.errors import OreflowError
from oreflow.envs.errors import TableError as TableError


class ConfigError(OreflowError, ValueError):
    """A config that cannot be read or breaks a rule."""


class RunFolderError(OreflowError, ValueError):
    """A run folder that is missing, incomplete, or would be overwritten."""


class CheckpointError(OreflowError, ValueError):
    """A checkpoint that is damaged or belongs to another world."""


class ConditionError(OreflowError, ValueError):
    """A condition that a run was not trained for, or that cannot be read."""


class CheckpointWarning(UserWarning):
    """Something about a checkpoint that whoever goes on from it should know."""


class TrainingError(OreflowError, RuntimeError):
    """Training that cannot go on, such as losses that stay non-finite."""


class PlaceError(OreflowError, ValueError):
    """A place that results may not go to, as something is there that is not to be replaced."""


class OutputError(OreflowError, OSError):
    """Results that cannot be written, as when the disk is full."""


class JudgingError(OreflowError, ValueError):
    """Crystals that cannot be judged as asked: nothing to read, no structures to compare with, no energies."""


class RealisationError(OreflowError, ValueError):
    """A decoration that no geometry can be found for."""
