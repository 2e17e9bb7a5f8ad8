"""Records: what compiled code reads is what Python put in; what does not fit is refused."""

import copy
import pickle
from dataclasses import replace

import numba
import numpy as np
import pytest

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record


class Part(Record):
    n: int
    values: Ints


class Whole(Record):
    part: Part
    weight: float
    is_on: bool
    table: Floats
    words: np.ndarray


@njit
def _sum_of(part: Part) -> int:
    total = 0
    for value in part.values:
        total += value * part.n
    return total


@njit(nogil=True)
def _read(whole: Whole, out: Floats) -> None:
    out[0] = _sum_of(whole.part)
    out[1] = whole.weight
    out[2] = 1.0 if whole.is_on else 0.0
    for i in range(whole.table.shape[0]):
        for j in range(whole.table.shape[1]):
            out[3] += whole.table[i, j] * (10 * i + j)
    row = whole.table[1]
    out[4] = row[2] + len(row) + whole.table[:, 1].sum()
    out[5] = whole.words[-1] >> np.uint64(63)


@njit
def _write(whole: Whole) -> None:
    whole.table[1, 2] = -3.5


def _whole(seed: int = 0, columns: int = 4) -> Whole:
    rng = np.random.default_rng(seed)
    part = Part(int(rng.integers(2, 9)), rng.integers(-99, 99, 5))
    words = np.array([1, 1 << 63], dtype=np.uint64)
    return Whole(part, float(rng.normal()), bool(seed % 2), rng.normal(size=(3, columns)), words)


def _expected(w: Whole) -> np.ndarray:
    places = 10 * np.arange(3)[:, None] + np.arange(w.table.shape[1])
    slices = w.table[1, 2] + w.table.shape[1] + w.table[:, 1].sum()
    return np.array([w.part.n * w.part.values.sum(), w.weight, w.is_on, (w.table * places).sum(), slices, 1.0])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("way", ["as it is", "pickled", "copied"])
def test_compiled_code_reads_what_python_wrote(seed: int, way: str) -> None:
    whole = _whole(seed, columns=3 + seed)
    given = {"as it is": whole, "pickled": pickle.loads(pickle.dumps(whole)), "copied": copy.deepcopy(whole)}[way]
    out = np.zeros(6)
    _read(given, out)
    np.testing.assert_allclose(out, _expected(whole), rtol=1e-12)


def test_arrays_are_shared_and_outlive_their_first_names() -> None:
    whole = Whole(Part(2, np.arange(5)), 0.0, False, np.zeros((3, 4)), np.zeros(1, dtype=np.uint64))
    _write(whole)
    assert whole.table[1, 2] == -3.5
    assert np.count_nonzero(whole.table) == 1
    other = replace(whole, weight=2.0)
    whole.table[0, 0] = 7.0
    assert other.table[0, 0] == 7.0
    assert other.weight == 2.0
    del whole
    out = np.zeros(6)
    _read(other, out)
    np.testing.assert_allclose(out[:3], [20, 2.0, 0.0])


def test_records_of_a_class_share_one_version_and_other_types_do_not() -> None:
    before = numba.typeof(_whole(0))
    assert numba.typeof(_whole(1, columns=9)) is before
    narrow = replace(_whole(0), words=np.zeros(1, dtype=np.uint32))
    assert numba.typeof(narrow) != before
    assert pickle.loads(pickle.dumps(before)) == before


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((4, 3)).T, r"Whole\.table: expected an array contiguous in C order .* numpy\.ascontiguousarray"),
        (np.array(1.0), r"Whole\.table: .*got 0 axes"),
        ("text", r"Whole\.table: expected a bool, int, float, array or record, got str"),
        (np.uint64(1), r"Whole\.table: expected a bool, int, float, array or record, got uint64"),
    ],
)
def test_what_compiled_code_cannot_read_is_refused(value: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        _read(replace(_whole(), table=value), np.zeros(6))


def test_fields_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        _whole().weight = 1.0  # type: ignore[misc]
