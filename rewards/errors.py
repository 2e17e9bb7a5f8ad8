"""Typed exceptions of the rewards: what was expected, what arrived, what to do."""

from oreflow.envs.errors import OreflowError, TableError
from oreflow.envs.errors import PluginError as PluginError  # under this name since 0.1


class UnknownRewardError(OreflowError, ValueError):
    """A reward name that no built-in, entry point or plug-in provides."""


class RewardParameterError(OreflowError, ValueError):
    """A parameter that a reward term or a shape does not take, or a value out of range."""


class RewardContractError(OreflowError, TypeError):
    """A reward term that breaks its contract: wrong shape, dtype, or a changed input."""


class RewardBudgetError(OreflowError, RuntimeError):
    """More objects without a valid reward than the configured share."""


class StoreError(OreflowError, OSError):
    """A reward store that cannot be opened, read or written."""


class ReferenceTableError(TableError):
    """A reference table whose content cannot be used: no usable row, another hash, a missing elemental energy."""


class RewardWarning(UserWarning):
    """A reward that does what it should not, in a way that could be mended."""


class ReferenceTableWarning(RewardWarning):
    """Rows of a reference table that were set aside."""


class MissingPackageError(OreflowError, ImportError):
    """A reward or command whose optional package is not installed."""


class PotentialError(OreflowError, ValueError):
    """A structure that the interatomic potential has no energy for; the message is a phrase that says why."""


class UnknownPotentialError(OreflowError, ValueError):
    """A name of an interatomic potential that no built-in, entry point or plug-in provides."""


class ExecutorError(OreflowError, ValueError):
    """An executor that cannot be used as asked: no cluster at the address, a folder that holds something else."""


class WorkersLostError(OreflowError, RuntimeError):
    """Work that cannot go on: a worker that does not start, or task after task that crashes one."""
