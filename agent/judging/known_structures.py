"""Known crystals to compare with, parsed only where a comparison asks for them."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.errors import JudgingError
from oreflow.agent.judging.inputs import formula_keys
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.tables.formulas import read_table
from oreflow.agent.tables.known_crystals import holds_crystals
from oreflow.envs.arrays import Ints
from oreflow.envs.errors import OreflowError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import protostructure_labels
from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.envs.structure_io.encode import encode_structures
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.structure_io.reading.checks import MAX_ATOMS
from oreflow.envs.structure_io.reading.files import read_structure_files
from oreflow.envs.structure_io.reading.formats import ID_COLUMNS, row_structure
from oreflow.rewards.reference.tables import is_json, read_formula

SYMMETRY_TOLERANCE_A = 0.1
"""Within which space group and occupied positions are found, of samples and of known crystals alike."""
_SITE = re.compile(r"(?:^|;)\s*([A-Z][a-z]?)\b")
_BATCH = 500
FormulaKey = tuple[tuple[int, int], ...]


class KnownStructures:
    """Structures of a file, a folder or a table, by reduced formula and by prototype.

    Args:
        path: of structures, as `oreflow encode` or `--reference` take them.
        quiet: whether no progress is shown.

    Attributes:
        ids, keys: name and reduced formula of each structure.
        n_unreadable: entries set aside so far, among those looked at.
        by_formula: rows of each reduced formula.

    Raises:
        JudgingError: when the path holds formulas only.
        TableError: when it cannot be read.
    """

    def __init__(self, path: Path, quiet: bool = True) -> None:
        if path.exists() and not holds_crystals(path):
            raise JudgingError(
                f"{path} holds formulas only; novelty of crystals needs structures: give a table with the columns "
                "lattice and sites, or structure files. A hull of formulas is given with --hull"
            )
        self.path, self._quiet = path, quiet
        self.ids: list[str] = []
        self._make: list[Callable[[], Any]] = []
        self._made: dict[int, Any] = {}
        self.n_unreadable = 0
        self.keys: list[FormulaKey] = []
        self.by_formula: dict[FormulaKey, list[int]] = {}
        if path.is_file() and ".csv" in path.name.lower() and not is_json(path):
            self._read_table()
        else:
            self._read_files()
        if not self.ids:
            raise JudgingError(f"expected structures in {path}, found none that can be read")

    def __len__(self) -> int:
        return len(self.ids)

    def _add(self, key: FormulaKey, name: str, make: Callable[[], Any]) -> None:
        self.by_formula.setdefault(key, []).append(len(self.ids))
        self.ids.append(name)
        self.keys.append(key)
        self._make.append(make)

    def _read_table(self) -> None:
        frame = read_table(self.path)
        columns = set(frame.columns)
        if not ({"lattice", "sites"} <= columns or "structure" in columns):
            self._read_files()
            return
        named = next((name for name in ID_COLUMNS if name in columns), None)
        ids = frame[named].astype(str) if named else [f"row {place + 2}" for place in frame.index.tolist()]
        plain = {"lattice", "sites"} <= columns and "structure" not in columns
        first = frame["lattice"] if plain else frame["structure"]
        sites = frame["sites"] if plain else first
        formulas = frame["formula_reduced"] if "formula_reduced" in columns and not plain else [""] * len(frame)
        for name, text, site, formula in zip(ids, first, sites, formulas):
            make = partial(row_structure, text, site, MAX_ATOMS, []) if plain else partial(_of_text, text)
            try:
                counts = _counts(site) if plain else read_formula(formula) if formula else _counts_of(make())
            except (OreflowError, ValueError, KeyError):
                self.n_unreadable += 1
                continue
            divisor = int(np.gcd.reduce(list(counts.values())))
            self._add(tuple(sorted((z, n // divisor) for z, n in counts.items())), name, make)

    def _read_files(self) -> None:
        with Progress(f"read {self.path.name}", None, self._quiet) as progress:
            for entry in read_structure_files([self.path]):
                if entry.structure is None:
                    self.n_unreadable += 1
                    continue
                (key,) = formula_keys([entry.structure], [""])
                self._made[len(self.ids)] = entry.structure
                self._add(key, entry.id or entry.file, lambda: None)
                progress.update(len(self.ids))

    def structure(self, row: int) -> Any:
        """The pymatgen `Structure` of a row; None where its text is no crystal."""
        if row not in self._made:
            try:
                self._made[row] = self._make[row]()
            except (OreflowError, ValueError, KeyError):
                self.n_unreadable += 1
                self._made[row] = None
        return self._made[row]

    @cached_property
    def _encoded(self) -> tuple[Crystals, Ints]:
        """All that have a space group, and the row of each. Structures that no comparison asks for are not kept."""
        parts, rows = [], []
        with Progress(f"space groups of {self.path.name}", len(self), self._quiet) as progress:
            for start in range(0, len(self), _BATCH):
                batch = range(start, min(start + _BATCH, len(self)))
                kept = set(self._made)
                given = [(row, self.structure(row)) for row in batch]
                given = [(row, structure) for row, structure in given if structure is not None]
                crystals, places, _ = encode_structures([s for _, s in given], SYMMETRY_TOLERANCE_A)
                parts.append(crystals)
                rows += [given[place][0] for place in places.tolist()]
                for row in set(batch) - kept:
                    del self._made[row]
                progress.update(batch.stop)
        return Crystals.concatenate(parts), np.array(rows, dtype=np.int64)

    @property
    def space_groups(self) -> Ints:
        """int64, of each structure that has one within 0.1 angstrom."""
        return self._encoded[0].space_group.astype(np.int64)

    @property
    def protostructures(self) -> set[str]:
        """Space group, occupied positions and elements of each structure that has them within 0.1 angstrom."""
        return set(protostructure_labels(self._encoded[0]))

    @cached_property
    def by_prototype(self) -> dict[int, list[int]]:
        """Rows by the hash of space group and occupied positions, whatever the elements."""
        crystals, rows = self._encoded
        found: dict[int, list[int]] = {}
        for value, row in zip(prototypes(crystals), rows.tolist()):
            found.setdefault(value, []).append(row)
        return found


def prototypes(crystals: Crystals) -> list[int]:
    """Hash space group and occupied positions, equal for all choices of origin, axes and elements."""
    from oreflow.rewards.models.crystal.prototypes import prototype_hashes

    return prototype_hashes(crystals)[:, 1].tolist() if len(crystals) else []


def _of_text(text: str) -> Any:
    (structure,) = pymatgen_structures(crystal_from_text([text]))
    return structure


def _counts(sites: str) -> dict[int, int]:
    """Atoms by atomic number in a cell of sites, in a tenth of the time that making the structure takes."""
    found = _SITE.findall(sites)
    if len(found) != sum(1 for part in sites.split(";") if part.strip()):
        raise ValueError(f"expected sites such as 'Na 0 0 0.5', got {sites[:60]!r}")
    return read_formula("".join(found))


def _counts_of(structure: Any) -> dict[int, int]:
    values, counts = np.unique(np.asarray(structure.atomic_numbers), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist()))


def anonymous_prototypes(structures: Sequence[Any]) -> tuple[list[int | None], list[int]]:
    """Hash of each structure's prototype and its space group within 0.1 angstrom; None and 0 where it has none."""
    hashes: list[int | None] = [None] * len(structures)
    groups = [0] * len(structures)
    given = [place for place, structure in enumerate(structures) if structure is not None]
    crystals, rows, _ = encode_structures([structures[place] for place in given], SYMMETRY_TOLERANCE_A)
    for row, value, group in zip(rows.tolist(), prototypes(crystals), crystals.space_group.tolist()):
        hashes[given[row]], groups[given[row]] = value, int(group)
    return hashes, groups
