"""Element data and oxidation-state tables equal the packages they come from; names are forgiving with near misses."""

import math
import warnings

import numpy as np
import pytest
from pymatgen.core import Element

from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE, TABLES
from oreflow.envs.chemistry.elements import (
    N_ELEMENTS,
    atomic_number,
    electronegativities,
    groups,
    presets,
    resolve,
    symbols,
)
from oreflow.envs.chemistry.oxidation import oxidation_matrix, oxidation_states
from oreflow.envs.data import build_tables
from oreflow.envs.errors import UnknownElementError, UnknownOxidationTableError
from oreflow.envs.suggestions import nearest


def test_symbols_are_those_of_pymatgen_by_atomic_number() -> None:
    assert symbols()[0] == ""
    assert len(symbols()) == N_ELEMENTS + 1 == 119
    assert [Element.from_Z(z).symbol for z in range(1, 119)] == list(symbols()[1:])
    assert [atomic_number(symbol) for symbol in symbols()[1:]] == list(range(1, 119))


def test_electronegativities_are_those_of_pymatgen() -> None:
    ours = electronegativities()
    for z in range(1, 119):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pymatgen warns for every element without a value
            theirs = float(Element.from_Z(z).X)
        assert ours[z] == theirs or (math.isnan(ours[z]) and math.isnan(theirs)), symbols()[z]
    # Textbook values, so that both sides being wrong would show.
    assert (ours[atomic_number("F")], ours[atomic_number("Cs")], ours[atomic_number("O")]) == (3.98, 0.79, 3.44)
    assert math.isnan(ours[atomic_number("He")])
    assert math.isnan(ours[0])


def test_groups_are_those_of_pymatgen() -> None:
    assert groups().tolist() == [0, *(Element.from_Z(z).group for z in range(1, 119))]
    assert [groups()[atomic_number(symbol)] for symbol in ("Na", "Eu", "Fe", "Cl")] == [1, 3, 8, 17]


@pytest.mark.parametrize("table", TABLES)
def test_tables_equal_the_package_that_publishes_them(table: str) -> None:
    published = {symbol: tuple(states) for symbol, states in build_tables.TABLES[table]().items() if states}
    ours = {symbols()[z]: states for z, states in oxidation_states(table).items()}
    assert ours == published


def test_smact_tables_equal_what_its_own_functions_read() -> None:
    """`build_tables` parses files of the package; this asks the package itself."""
    from smact import Element as SmactElement

    for z in range(1, 104):
        symbol = symbols()[z]
        element = SmactElement(symbol)
        for table, theirs in [
            ("smact14", element.oxidation_states_smact14),
            ("smact_icsd16", element.oxidation_states_icsd16),
            ("smact_icsd24", element.oxidation_states_icsd24),
            ("smact_pymatgen_sp", element.oxidation_states_sp),
            ("smact_wiki", element.oxidation_states_wiki),
        ]:
            assert oxidation_states(table).get(z, ()) == tuple(sorted(set(theirs or []))), (table, symbol)


@pytest.mark.parametrize("table", TABLES)
def test_matrix_holds_the_same_states_as_the_mapping(table: str) -> None:
    states, n_states = oxidation_matrix(table)
    rows = {z: tuple(states[z, : n_states[z]].tolist()) for z in range(119) if n_states[z]}
    assert rows == oxidation_states(table)
    assert all(list(row) == sorted(set(row)) for row in rows.values())
    assert not states[n_states == 0].any()
    with pytest.raises(ValueError, match="read-only"):
        states[1, 0] = 3


def test_textbook_states() -> None:
    common = oxidation_states(DEFAULT_TABLE)
    assert common[atomic_number("Na")] == (1,)
    assert common[atomic_number("Fe")] == (2, 3)
    assert common[atomic_number("O")] == (-2,)
    assert atomic_number("He") not in common
    assert set(common[atomic_number("Mn")]) < set(oxidation_states("pymatgen_all")[atomic_number("Mn")])


def test_presets_hold_what_their_names_say() -> None:
    assert len(presets()["z1_94"]) == 94
    assert len(presets()["mp84"]) == 84
    assert set(presets()["mp84"]).isdisjoint({"He", "Ne", "Ar", "Kr", "Xe", "Po", "At", "Rn", "Fr", "Ra"})
    assert set(presets()["stable"]).isdisjoint({"He", "Ar", "Xe", "Rn", "Tc", "Pm", "Po", "Ra", "U", "Pu"})
    assert {"H", "Bi", "La"} <= set(presets()["stable"])
    for name, test in [
        ("alkali_metals", lambda e: e.is_alkali),
        ("alkaline_earths", lambda e: e.is_alkaline),
        ("halogens", lambda e: e.is_halogen),
        ("chalcogens", lambda e: e.is_chalcogen),
        ("lanthanides", lambda e: e.is_lanthanoid),
        ("actinides", lambda e: e.is_actinoid),
    ]:
        # pymatgen also counts At, Po, Fr, Ra and the transuranium elements, which no preset beyond z1_94 needs.
        known = [e.symbol for e in Element if test(e) and e.Z <= 94 and e.symbol not in ("At", "Po", "Fr", "Ra")]
        assert sorted(presets()[name]) == sorted(known), name
    assert [Element(e).group for e in presets()["pnictogens"]] == [15] * 5
    assert {Element(e).group for e in presets()["transition_metals"]} <= set(range(3, 13))


def test_resolve_expands_orders_and_removes_duplicates() -> None:
    assert resolve("Fe") == ("Fe",)
    assert resolve(["O", "halogens", "Li", "O"]) == ("Li", "O", "F", "Cl", "Br", "I")
    assert resolve(["N", "No", "Y"]) == ("N", "Y", "No")
    assert resolve([]) == ()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: atomic_number("fe"), "got 'fe'; did you mean 'Fe'"),
        (lambda: atomic_number("Xx"), "got 'Xx'"),
        (lambda: atomic_number(""), "got ''"),
        (lambda: atomic_number("D"), "got 'D'"),
        (lambda: resolve(["halogen"]), "did you mean 'halogens'"),
        (lambda: resolve(["alkali"]), "alkali_metals"),
    ],
)
def test_unknown_elements_and_presets_name_the_nearest(call, expected: str) -> None:
    with pytest.raises(UnknownElementError) as error:
        call()
    assert expected in str(error.value)


def test_unknown_table_names_the_nearest() -> None:
    with pytest.raises(UnknownOxidationTableError, match="did you mean 'smact14'"):
        oxidation_states("smact-14")


def test_nearest_lists_what_there_is_when_nothing_is_close() -> None:
    assert nearest("zzz", ["alpha", "beta"]) == "known: alpha, beta"


def test_loaded_tables_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        electronegativities()[1] = 0.0
    assert np.array_equal(oxidation_matrix(DEFAULT_TABLE)[0], oxidation_matrix(DEFAULT_TABLE)[0])
