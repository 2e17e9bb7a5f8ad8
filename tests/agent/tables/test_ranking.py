"""Order of candidates, against a sort of tuples and a search of all first pages."""

import itertools
from collections import Counter

import numpy as np
import pytest

from oreflow.agent.tables import ranking
from oreflow.agent.tables.ranking import first_page, meaningful_decimals, ranked


@pytest.mark.parametrize("decimals", [1, 2])
def test_ties_are_broken_by_what_is_known(decimals: int, rng: np.random.Generator) -> None:
    n = 2000
    merit = rng.uniform(-1, 1, n)
    hull = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 4, n) / 1000 + rng.uniform(0, 4e-4, n))
    std = rng.integers(0, 3, n) / 1000
    n_elements, n_atoms = rng.integers(1, 3, n), rng.integers(1, 4, n)

    def key(row: int) -> tuple[float, ...]:
        distance = np.inf if np.isnan(hull[row]) else round(hull[row], 3)
        return (-round(merit[row], decimals), distance, std[row], n_elements[row], n_atoms[row], -merit[row])

    assert ranked(merit, decimals, hull, std, [n_elements, n_atoms]).tolist() == sorted(range(n), key=key)


def test_rows_that_are_equal_stay_in_their_order_and_missing_columns_decide_nothing() -> None:
    merit, nothing = np.array([0.5, -np.inf, 0.5, 0.7]), np.full(4, np.nan)
    assert ranked(merit, 2, nothing, nothing, []).tolist() == [3, 0, 2, 1]


@pytest.mark.parametrize(
    ("std", "decimals"),
    [([], 2), ([np.nan, np.nan], 2), ([0.01, 0.02, 5.0], 2), ([0.01, 0.1, np.nan, 0.3], 1), ([0.0, 0.0], 2)],
)
def test_digits_follow_the_median_uncertainty(std: list[float], decimals: int) -> None:
    assert meaningful_decimals(np.array(std)) == decimals


def best_page(merit: np.ndarray, chemistries: list[str], mixtures: np.ndarray, n: int) -> set[int]:
    """By search: as many rows within the bounds as there can be, then the best ranks, then what is left by rank."""
    lowest = merit[n - 1] - ranking.WITHIN_NATS
    may = [row for row in range(len(merit)) if merit[row] >= lowest]
    for size in range(n, 0, -1):
        for rows in itertools.combinations(may, size):  # in order of ranks
            chemistry = Counter(chemistries[row] for row in rows)
            if max(chemistry.values()) <= ranking.MOST_OF_ONE_ANION:
                rest = [row for row in range(len(merit)) if row not in rows]
                return {*rows, *rest[: n - size]}
    raise AssertionError


def test_the_page_is_the_best_within_its_bounds(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(ranking, "PAGE_ROWS", 5)
    monkeypatch.setattr(ranking, "MOST_OF_ONE_ANION", 2)
    seen = Counter()
    for _ in range(200):
        n = int(rng.integers(6, 13))
        merit = -np.sort(rng.uniform(0, rng.choice([1.5, 4.0]), n))
        chemistries = rng.choice(["oxide", "sulfide", "fluoride"], n, p=[0.7, 0.2, 0.1]).tolist()
        page = first_page(merit, chemistries, np.zeros(n, dtype=bool))
        assert set(page.tolist()) == best_page(merit, chemistries, np.zeros(n, dtype=bool), 5)
        assert page.tolist() == sorted(page.tolist())
        seen[max(Counter(chemistries[row] for row in page).values()) <= 2, page.tolist() == [0, 1, 2, 3, 4]] += 1
    assert min(seen[True, False], seen[False, False], seen[False, True]) > 5  # kept, kept in part, and in vain


def test_bounds_of_the_first_thirty_rows() -> None:
    n = 200
    merit = -np.linspace(0, 1, n)
    chemistries = ["oxide"] * 60 + ["fluoride"] * 70 + [f"anion {i % 7}" for i in range(70)]
    mixtures = np.zeros(n, dtype=bool)
    mixtures[60:128] = True
    page = first_page(merit, chemistries, mixtures)
    assert len(page) == 30
    assert Counter(chemistries[row] for row in page)["oxide"] == 5
    assert page[:5].tolist() == [0, 1, 2, 3, 4]
    assert mixtures[page].sum() == 3
    assert [row for row in page if 60 <= row < 130] == [60, 61, 62, 128, 129]
    assert max(Counter(chemistries[row] for row in page).values()) == 5


def test_a_few_rows_stay_in_their_order() -> None:
    assert first_page(np.array([0.0, -9.0]), ["oxide", "oxide"], np.array([True, True])).tolist() == [0, 1]
    assert first_page(np.zeros(30), ["oxide"] * 30, np.zeros(30, dtype=bool)).tolist() == list(range(30))
    assert first_page(np.zeros(0), [], np.zeros(0, dtype=bool)).tolist() == []
