"""What figures show, against numbers worked out another way; and that plotly takes them."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition, Element

from oreflow.agent.reporting.comparisons import read_known_compounds, term_values
from oreflow.agent.reporting.figures.compositions import element_fractions, element_section, map_section, place_of
from oreflow.agent.reporting.figures.crystals import gallery, space_group_section
from oreflow.agent.reporting.figures.distributions import distributions
from oreflow.agent.reporting.figures.hulls import hull_section
from oreflow.agent.reporting.figures.learning import fit_section, learning_section
from oreflow.agent.reporting.figures.plotly_figures import plotly_figure
from oreflow.agent.reporting.figures.spec import Figure, Series
from oreflow.agent.reporting.sources import Source, read_sources
from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_to_text


@pytest.fixture(scope="module")
def source(runs: Path) -> Source:
    return read_sources([runs / "runs" / "seed_0"])[0]


def of_rows(tmp_path: Path, **columns: list) -> Source:
    path = tmp_path / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return read_sources([path])[0]


def test_elements_stand_where_pymatgen_has_them() -> None:
    places = [place_of(z) for z in range(1, 119)]
    assert len(set(places)) == 118
    for z, (column, row) in enumerate(places, start=1):
        element = Element.from_Z(z)
        if element.is_lanthanoid or element.is_actinoid or z in (71, 103):
            assert row in (8, 9)
            assert column == 3 + (z - 57 if row == 8 else z - 89)
        else:
            assert (column, row) == (element.group - 1, element.row - 1), element


def test_element_shares_are_counts_of_rows(source: Source) -> None:
    (figure,) = element_section([source]).figures
    systems = source.rows["chemsys"].str.split("-")
    for cell in figure.cells:
        share = 100 * np.mean([cell.text in system for system in systems])
        assert cell.value == pytest.approx(share), cell.text
    assert {cell.text for cell in figure.cells if cell.value > 0} == {"Li", "Mn", "O", "S"}


def test_histograms_hold_every_row_and_the_medians(source: Source, runs: Path) -> None:
    known = read_known_compounds(runs / "known.csv")
    compared = [term_values(source, known)]
    section = distributions([source], compared)
    figures = {figure.key: figure for figure in section.figures}
    energy = figures["distribution_formation_energy"]
    assert [series.name for series in energy.series] == ["candidates", "random objects", "known compounds"]
    for series in energy.series:
        assert sum(series.y) == pytest.approx(1.0)
    values = source.rows["formation_energy_ev_per_atom"].to_numpy()
    edges = np.array(energy.series[0].x)
    inside = [((values >= a) & (values < b)).mean() for a, b in pairwise(edges[1:-1])]
    np.testing.assert_allclose(energy.series[0].y[1:-1], inside)
    assert f"candidates {np.median(values):.4g}" in energy.caption
    assert len(compared[0][0]["random"]["formation_energy"]) == 2000
    assert len(compared[0][0]["known"]["formation_energy"]) == 6
    yes = figures["distribution_electronegativity_balance"].series[0]
    assert yes.x == ["no", "yes"]
    assert yes.y[1] == pytest.approx((source.rows["electronegativity_balance_verdict"] == 1).mean())


def test_the_line_of_log_r_against_log_p_and_its_spread(source: Source) -> None:
    (figure,) = fit_section([source]).figures
    difference = source.rows["log_reward"] - source.rows["log_pf"]
    assert f"{difference.std(ddof=0):.2f} nats" in figure.caption
    line, points = figure.series
    assert line.y[0] - line.x[0] == pytest.approx(difference.mean())
    assert sorted(points.x) == pytest.approx(sorted(source.rows["log_pf"]))


def test_the_map_keeps_distances_as_well_as_a_plane_can(source: Source) -> None:
    (figure,) = map_section([source], None).figures
    at = np.column_stack([figure.series[0].x, figure.series[0].y])
    assert source.compositions is not None
    fractions = element_fractions(source.compositions)
    for row, formula in enumerate(source.rows["formula_pretty"].head(20)):
        for element, share in Composition(formula).fractional_composition.items():
            assert fractions[row, element.Z] == pytest.approx(share)
    centred = fractions - fractions.mean(axis=0)
    largest = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose((at**2).sum(axis=0), largest[:2], rtol=1e-9)
    assert f"together {largest[:2].sum() / largest.sum():.0%} of the variance" in figure.caption


def test_hulls_against_energies_worked_out_by_hand(tmp_path: Path) -> None:
    known = tmp_path / "known.csv"
    known.write_text("formula,formation_energy_per_atom\nLi2O,-2.0\nLi2O2,-1.6\nMnO,-2.0\nLiMnO2,-1.9\n")
    source = of_rows(
        tmp_path,
        formula=["LiO", "LiO2", "Li2O", "LiMnO2", "LiMnO", "Mn2O"],
        formation_energy_per_atom_pred=[-1.7, -1.0, -1.9, -2.0, -1.0, -1.0],
    )
    section = hull_section([source], read_known_compounds(known))
    figures = {figure.title: figure for figure in section.figures}
    assert set(figures) == {"Li-O", "Li-Mn-O"}
    binary = figures["Li-O"]
    line, phases, ours = binary.series
    assert list(zip(np.round(line.x, 6).tolist(), line.y)) == [
        (0.0, 0.0),
        (0.333333, -2.0),
        (0.5, -1.6),
        (1.0, 0.0),
    ]
    assert phases.hover == ["Li", "Li2O", "Li2O2", "O"]
    # LiO2 lies a third of the way from Li2O2 to O: -1.6 * 2/3; Li2O 0.1 above; LiO 0.1 below.
    assert ours.hover[0] == "LiO: -1.700 eV/atom, -0.100 above the hull"
    assert ours.hover[1] == f"LiO2: -1.000 eV/atom, {-1.0 + 1.6 * 2 / 3:+.3f} above the hull"
    assert ours.hover[2] == "Li2O: -1.900 eV/atom, +0.100 above the hull"
    assert "3 candidates" in binary.caption
    assert "1 of them on or below" in binary.caption
    ternary = figures["Li-Mn-O"].series[-1]
    assert [text.split(":")[0] for text in ternary.hover] == ["LiO", "LiO2", "Li2O", "LiMnO2", "LiMnO", "Mn2O"]
    assert ternary.shades[3] == pytest.approx(-0.1)
    assert ternary.shade_range == (min(ternary.shades), max(ternary.shades))
    place = ternary.hover.index(next(text for text in ternary.hover if text.startswith("LiMnO2")))
    assert (ternary.x[place], ternary.y[place]) == pytest.approx((0.25 + 0.25, 0.5 * np.sqrt(3) / 2))


def rock_salt(first: str, second: str) -> Crystals:
    return Crystals(
        np.array([225]),
        np.array([0, 2]),
        np.array([0, 1]),
        np.array([atomic_number(first), atomic_number(second)], dtype=np.int16),
        np.array([[5.0, 5.0, 5.0, 90.0, 90.0, 90.0]]),
        np.zeros((2, 3)),
    )


def test_space_groups_and_structures(tmp_path: Path) -> None:
    texts = [crystal_to_text(rock_salt("Na", "Cl"))[0], crystal_to_text(rock_salt("Mg", "O"))[0], ""]
    source = of_rows(
        tmp_path, formula=["NaCl", "MgO", "TiO2"], space_group_number=["225", "225", "136"], structure=texts
    )
    (bars,) = space_group_section([source]).figures[0].series
    assert list(zip(bars.x, np.round(bars.y, 1).tolist())) == [("P4_2/mnm (136)", 33.3), ("Fm-3m (225)", 66.7)]
    pictures = gallery([source], 12)
    assert [picture["formula"] for picture in pictures] == ["NaCl", "MgO"]
    edges, bonds, *atoms = pictures[0]["data"]
    assert len(edges["x"]) == 12 * 3
    assert {trace["name"]: len(trace["x"]) for trace in atoms} == {"Na": 14, "Cl": 13}  # with images on the faces
    starts = np.array([bonds[axis][::3] for axis in "xyz"], dtype=float)
    ends = np.array([bonds[axis][1::3] for axis in "xyz"], dtype=float)
    np.testing.assert_allclose(np.linalg.norm(starts - ends, axis=0), 2.5, atol=2e-3)
    assert starts.shape[1] == 54  # the edges of 27 points on a grid of three by three by three


def test_an_atom_on_a_face_stands_on_the_opposite_one_too(tmp_path: Path) -> None:
    at = np.array([[0.99995, 0.5, 0.00005]])
    cell = np.array([[5.0, 5.0, 5.0, 90.0, 90.0, 90.0]])
    number = np.array([atomic_number("Po")], dtype=np.int16)
    crystal = Crystals(np.array([1]), np.array([0, 1]), np.array([0]), number, cell, at)
    source = of_rows(tmp_path, formula=["Po"], structure=crystal_to_text(crystal))
    (atoms,) = gallery([source], 1)[0]["data"][2:]
    found = sorted(zip(np.round(atoms["x"], 1).tolist(), atoms["y"], np.round(atoms["z"], 1).tolist()))
    assert found == [(0.0, 2.5, 0.0), (0.0, 2.5, 5.0), (5.0, 2.5, 0.0), (5.0, 2.5, 5.0)]


def test_plotly_takes_every_figure(source: Source, runs: Path) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    known = read_known_compounds(runs / "known.csv")
    sections = [
        learning_section([source]),
        fit_section([source]),
        distributions([source], [term_values(source, known)]),
        element_section([source]),
        map_section([source], known.compositions),
        hull_section([source], known),
    ]
    figures = [figure for section in sections for figure in section.figures]
    assert len(figures) > 10
    for figure in figures:
        graph_objects.Figure(plotly_figure(figure))  # raises for a property that plotly does not know
    broken = plotly_figure(Figure("a", "b", "c", series=[Series("points", [1], [2])]))
    broken["data"][0]["marker"]["symbol"] = "blob"
    with pytest.raises(ValueError, match="marker"):
        graph_objects.Figure(broken)


def test_plotly_gets_no_tags_of_a_user() -> None:
    hostile = "<a href='javascript:alert(1)'>x</a>"
    series = Series("points", [1.0], [2.0], hostile, hover=[hostile], labels=[hostile])
    drawn = str(plotly_figure(Figure("a", "b", "c", hostile, hostile, [series])))
    assert "<a" not in drawn
    assert drawn.count("&lt;a") == 6  # name, its group, hover, label, two axes


def test_symbols_of_cells_are_elements(source: Source) -> None:
    (figure,) = element_section([source]).figures
    assert {cell.text for cell in figure.cells} <= set(symbols())
