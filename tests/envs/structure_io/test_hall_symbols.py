"""A Hall symbol decides axes and origin: all 530 settings against spglib's database."""

import warnings

import numpy as np
import pytest
import spglib

from oreflow.envs.structure_io.reading.cif_symmetry import affine, operations_of


def as_set(rotations: np.ndarray, translations: np.ndarray) -> set[tuple[int, ...]]:
    rows = zip(np.rint(rotations).astype(int), np.rint(np.asarray(translations) * 24).astype(int) % 24)
    return {(*rotation.ravel().tolist(), *shift.tolist()) for rotation, shift in rows}


@pytest.mark.parametrize("with_number", [False, True])
def test_all_settings_from_their_hall_symbol(with_number: bool) -> None:
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for hall_number in range(1, 531):
            group = spglib.get_spacegroup_type(hall_number)
            right = spglib.get_symmetry_from_database(hall_number)
            assert group is not None
            assert right is not None
            notes: list[str] = []
            read = operations_of([], "", str(group.number) if with_number else "", notes, group.hall_symbol)
            if notes or as_set(*affine(read)) != as_set(right["rotations"], right["translations"]):
                wrong.append((hall_number, group.hall_symbol, notes))
    assert wrong == []


def test_unknown_hall_symbol_is_said() -> None:
    notes: list[str] = []
    assert len(operations_of([], "P -1", "", notes, "X 9 9")) == 2
    assert "X 9 9" in notes[0]
