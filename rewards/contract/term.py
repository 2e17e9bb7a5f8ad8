"""The base class of reward terms, and the adapter that gives a plain class its defaults."""

from abc import ABC, abstractmethod
from typing import Any

from oreflow.rewards.contract.protocol import BatchType, Requires, RewardTerm, TermValues


class Term(ABC):
    """A reward term with defaults for all that it need not say: subclass it, set three names, write `__call__`.

        class Atoms(Term):
            name, unit, version = "atoms", "atoms", "1"

            def __call__(self, batch):
                n = batch.reduced().n_atoms.astype(float)
                return TermValues(n, n > 0)

    What a term promises is written in `RewardTerm`. A class that fulfils it without this base is as good: `as_term`
    gives it the same defaults.

    Attributes:
        name: as registered; columns are called after it.
        unit: of the values, such as "eV/atom".
        version: changes whenever the values do.
        citations: works to cite with the values.
        requires: "composition" for a term of `Compositions`, "structure" for one of `Crystals`.
        needs_geometry: whether a term that requires structures reads lattice and coordinates; if not, it is also asked
            about crystals without them.
        batch_type: "arrays", or "pymatgen" for a tuple of `pymatgen.core.Composition` or `pymatgen.core.Structure`.
        deterministic: False once the term was found to answer the same question differently.
        path_params: names of parameters that are files, so that relative paths in a config still lead there when the
            run is used from another folder.
    """

    name: str
    unit: str
    version: str
    citations: tuple[str, ...] = ()
    requires: Requires = "composition"
    needs_geometry: bool = True
    batch_type: BatchType = "arrays"
    deterministic: bool = True
    path_params: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, batch: Any) -> TermValues:
        """Return values and validity of every row of `batch`: what `requires` and `batch_type` ask for."""

    @property
    def unwrapped(self) -> "Term":
        """The term inside a cache; a term that is not wrapped is its own."""
        return self


class PlainTerm(Term):
    """A term of a class without the base `Term`: what the class does not say has the default.

    Attributes:
        plain: the term that was given.
    """

    def __init__(self, plain: RewardTerm) -> None:
        self.plain = plain
        names = ("name", "unit", "version", "citations", "requires", "needs_geometry", "batch_type", "deterministic")
        for name in (*names, "path_params"):
            if hasattr(plain, name):
                setattr(self, name, getattr(plain, name))

    def __call__(self, batch: Any) -> TermValues:
        """Return what the given term returns."""
        return self.plain(batch)


def as_term(term: RewardTerm) -> Term:
    """Return a term that has every attribute of `Term`: the given one, or an adapter around a plain class.

    Terms written for oreflow 0.4 and before are plain classes, and go on working through this one place.
    """
    return term if isinstance(term, Term) else PlainTerm(term)
