"""A crystal as one cell of a table, and back."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.errors import StructureError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import sites_of
from oreflow.envs.structure_io.reading.checks import Reason
from oreflow.envs.symmetry.space_groups import space_group

_LONGEST_A = 1e6  # crystals may be as wide as their atoms need: what was built can be read


def crystal_to_text(crystals: Crystals) -> list[str]:
    """Write crystals as one line of JSON each.

    A line is {"sg": number, "lattice": [a, b, c, alpha, beta, gamma], "sites": [[letter, symbol,
    [parameters]], ...]}; lengths in angstrom, angles in degrees. Numbers are written so that they read back exactly.
    A crystal without geometry has null for lattice and parameters.
    """
    out = []
    has_geometry = crystals.has_geometry.tolist()
    lattices, parameters = crystals.lattice.tolist(), crystals.parameters.tolist()
    start = 0
    for row, (number, sites) in enumerate(sites_of(crystals)):
        group = space_group(number)
        listed = [
            [group.letters[letter], symbol, parameters[start + i][: group.dof[letter]] if has_geometry[row] else None]
            for i, (letter, symbol) in enumerate(sites)
        ]
        start += len(sites)
        data = {"sg": number, "lattice": lattices[row] if has_geometry[row] else None, "sites": listed}
        out.append(json.dumps(data, separators=(",", ":"), allow_nan=False))
    return out


def crystal_from_text(texts: Sequence[str]) -> Crystals:
    """The crystals that `crystal_to_text` wrote.

    Raises:
        StructureError: names the first row that holds something else.
    """
    groups: list[int] = []
    offsets, lattices = [0], []
    letters: list[int] = []
    numbers: list[int] = []
    parameters: list[list[float]] = []
    for row, text in enumerate(texts):
        try:
            number, lattice, sites = _parse(text)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            expected = 'expected a structure as {"sg":225,"lattice":[...],"sites":[["a","Na",[]],...]}'
            message = f"{expected}, got {str(text)[:80]!r} in row {row}: {error}"
            raise StructureError(Reason.PARSE_ERROR, message) from None
        groups.append(number)
        lattices.append(lattice)
        for letter, z, values in sites:
            letters.append(letter)
            numbers.append(z)
            parameters.append(values)
        offsets.append(len(letters))
    return Crystals(
        np.array(groups, dtype=np.int16),
        np.array(offsets, dtype=np.int64),
        np.array(letters, dtype=np.int8),
        np.array(numbers, dtype=np.int16),
        np.array(lattices, dtype=np.float64).reshape(len(groups), 6),
        np.array(parameters, dtype=np.float64).reshape(len(letters), 3),
    )


def _parse(text: str) -> tuple[int, list[float], list[tuple[int, int, list[float]]]]:
    from oreflow.envs.structure_io.reading.checks import check_cell_parameters

    data = json.loads(text, parse_constant=_no_constant)
    number = data["sg"]
    if type(number) is not int:
        raise ValueError(f"expected sg to be a whole number, got {number!r}")
    group = space_group(number)
    lattice = [np.nan] * 6
    if data["lattice"] is not None:
        lattice = _floats(data["lattice"], 6)
        check_cell_parameters(lattice, _LONGEST_A)
    sites = []
    for letter, symbol, values in data["sites"]:
        if not (isinstance(letter, str) and len(letter) == 1 and letter in group.letters):
            raise ValueError(f"expected a position {group.letters[0]} to {group.letters[-1]}, got {letter!r}")
        index = group.letters.index(letter)
        if (values is None) != (data["lattice"] is None):
            raise ValueError("expected parameters where there is a lattice, and none elsewhere")
        dof = int(group.dof[index])
        free = [np.nan] * 3 if values is None else _floats(values, dof) + [0.0] * (3 - dof)
        sites.append((index, atomic_number(symbol), free))
    if not sites:
        raise ValueError("expected at least one site")
    return number, lattice, sites


def _floats(values: Any, n: int) -> list[float]:
    if not isinstance(values, list) or len(values) != n or not all(type(v) in (int, float) for v in values):
        raise ValueError(f"expected {n} numbers, got {values!r}")
    numbers = [float(value) for value in values]
    if not np.isfinite(numbers).all():
        raise ValueError(f"expected finite numbers, got {values!r}")
    return numbers


def _no_constant(name: str) -> float:
    raise ValueError(f"expected finite numbers, got {name}")
