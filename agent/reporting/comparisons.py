"""What candidates are compared with: random objects of the same world, and known compounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.evaluation.random_objects import random_objects
from oreflow.agent.reporting.sources import Source
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.tables.known_crystals import read_known
from oreflow.agent.training.build import make_kernel, make_reward
from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.errors import OreflowError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.registry import STRUCTURE
from oreflow.rewards import Reward
from oreflow.rewards.errors import ReferenceTableError
from oreflow.rewards.reference import known_phases
from oreflow.rewards.reference.known_phases import Reference

_N, _N_CRYSTALS = 2000, 300  # objects of each kind; energies of crystals may take long


@dataclass(frozen=True)
class Known:
    """Known compounds.

    Attributes:
        objects: formulas, or crystals where the file holds some.
        phases: with energies, where the table has them.
        bad_rows: a line for each row that cannot be read.
    """

    objects: Compositions | Crystals
    phases: Reference | None
    bad_rows: list[str]

    @property
    def compositions(self) -> Compositions:
        """Reduced formulas."""
        return self.objects.formula_units() if isinstance(self.objects, Crystals) else self.objects


def read_known_compounds(path: Path, formula_column: str | None = None, quiet: bool = True) -> Known:
    """Read the file of `--reference`: a table of formulas, with formation energies or without, or structures.

    Raises:
        TableError: when nothing in it can be read.
    """
    objects, bad_rows = read_known(path, formula_column, quiet)
    phases = None
    if isinstance(objects, Compositions):
        try:
            phases = known_phases.read_reference(path, formula_column=formula_column)
        except ReferenceTableError:
            phases = None  # formulas alone
    return Known(objects, phases, bad_rows)


def reference_of(sources: Sequence[Source]) -> Path | None:
    """The table of known phases that a reward of the sources compares with; None where no term has one of its own."""
    for source in sources:
        for term in [] if source.config is None else source.config.reward.terms:
            path = term.params.get("reference")
            if isinstance(path, str) and Path(path).is_file():
                return Path(path)
    return None


def term_values(source: Source, known: Known | None) -> tuple[Mapping[str, Mapping[str, Floats]], str]:
    """Ask the terms of a run about random and known objects.

    Returns:
        values: of "random" and "known" each term's values by its name, float64 [object], missing ones left out.
        note: how the random objects were drawn, or why there are none; "" for a table without a run.
    """
    if source.config is None:
        return {}, ""
    n = _N_CRYSTALS if source.config.world.space().object_kind == STRUCTURE else _N
    try:
        reward, kernel = make_reward(source.config), make_kernel(source.config)
        states, origin = random_objects(kernel, n, stream(source.config.seed, "baseline"))
        found = {"random": _values(reward, kernel.objects(states))}
        objects = None if known is None else _of_the_world(known, source.config, n)
        if objects is not None and len(objects):
            found["known"] = _values(reward, objects)
    except OreflowError as error:  # a table of the reward that is gone, a package that is not installed
        return {}, f"No random objects to compare with: {error}"
    return found, f"Random objects: {origin}, of the same world."


def _values(reward: Reward, objects: Compositions | Crystals) -> dict[str, Floats]:
    return {name: term.values[term.valid] for name, term in reward(objects).terms.items()}


def _of_the_world(known: Known, config: Config, n: int) -> Compositions | Crystals | None:
    """Known objects of a world's kind and elements, at most n, drawn at random; None for another kind."""
    world = config.world.space()
    if world.object_kind == STRUCTURE:
        objects: Compositions | Crystals = known.objects
        if not isinstance(objects, Crystals) or (world.has_geometry and not objects.has_geometry.all()):
            return None
    elif config.world.kind == "composition":
        objects = known.compositions
    else:
        return None
    allowed = np.zeros(119, dtype=bool)
    allowed[0] = True
    allowed[[atomic_number(symbol) for symbol in world.symbols()]] = True
    inside = np.flatnonzero(allowed[known.compositions.atomic_numbers].all(axis=1))
    rng = np.random.default_rng(0)
    return objects[np.sort(rng.choice(inside, min(n, len(inside)), replace=False))]
