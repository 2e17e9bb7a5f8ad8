"""Typed exceptions of the environments: what was expected, what arrived, what to do."""


class OreflowError(Exception):
    """Base of every error that a user can cause and mend."""


class UnknownElementError(OreflowError, ValueError):
    """A symbol that is not one of the 118 elements, or a group or preset that is not defined."""


class UnknownOxidationTableError(OreflowError, ValueError):
    """The name of an oxidation-state table that does not ship with oreflow."""


class OxidationTableError(OreflowError, ValueError):
    """A user's table of oxidation states that cannot be read or holds something else than oxidation states."""


class EmptyWorldError(OreflowError, ValueError):
    """No object satisfies the constraints of a kernel."""


class StartError(OreflowError, ValueError):
    """A partial object that cannot be read, or that no object of the world completes; naming what forbids it."""


class FormulaError(OreflowError, ValueError):
    """A text that cannot be read as a chemical formula with whole-number amounts."""


class TableError(OreflowError, ValueError):
    """A table of formulas that cannot be read."""


class StructureError(OreflowError, ValueError):
    """A structure that cannot be read.

    Attributes:
        code: short name of the reason, from `oreflow.envs.structure_io.reading.checks.Reason`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = str(code)


class EncodeError(StructureError):
    """A structure that was read, but not found to be orbits of a space group."""


class PluginError(OreflowError, ImportError):
    """A plug-in file or entry point that cannot be loaded, or two that claim one name."""


class UnknownWorldError(PluginError, ValueError):
    """The name of a world that no built-in, entry point or plug-in provides."""


class KernelContractError(OreflowError, AssertionError):
    """A transition kernel that breaks a clause of its contract."""


class ScorerContractError(OreflowError, ValueError):
    """A scorer that returns something else than one log-reward a state."""


class IllegalActionError(OreflowError, ValueError):
    """An action that the mask of its state does not allow."""


class DeadEndError(OreflowError, RuntimeError):
    """A non-terminal state without an allowed action. The masks exclude it; seeing one is a defect."""


def expect_range(name: str, value: object) -> None:
    """Refuse what is no pair of a smallest and a largest value.

    Raises:
        ValueError: saying what to write.
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        hint = f"; write ({value}, {value})" if isinstance(value, int | float) else ""
        raise ValueError(f"expected {name} = (low, high), two numbers, got {value!r}{hint}")
