"""Make a report: read, draw, write one HTML file, and the figures for papers beside it."""

import re
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from oreflow.agent.reporting.comparisons import Known, read_known_compounds, reference_of, term_values
from oreflow.agent.reporting.figures.compositions import element_section, map_section
from oreflow.agent.reporting.figures.crystals import gallery, space_group_section
from oreflow.agent.reporting.figures.distributions import distributions
from oreflow.agent.reporting.figures.hulls import hull_section
from oreflow.agent.reporting.figures.learning import fit_section, learning_section
from oreflow.agent.reporting.figures.plotly_figures import plotly_figure
from oreflow.agent.reporting.figures.spec import Figure, Section
from oreflow.agent.reporting.figures.static_figures import draw_static
from oreflow.agent.reporting.funnel import as_plain, funnel, verdict
from oreflow.agent.reporting.packing import packed_json, packed_plotly, page_file
from oreflow.agent.reporting.rows import page_table
from oreflow.agent.reporting.sources import Source, read_sources
from oreflow.agent.reporting.words import asked, provenance
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import check_place, own_files, take_over
from oreflow.agent.storage.scratch import scratch_folder, writing_to

PAGE = "index.html"
_FIGURES = "figures"
_PREVIEW_ROWS, _PREVIEW_COLUMNS = 30, 9
_STRUCTURES = 12


def report_place(paths: list[Path]) -> Path:
    """Where a report goes by default: RUN/report, or the folder `report` beside a table."""
    return paths[0] / "report" if paths[0].is_dir() else paths[0].parent / "report"


def make_report(
    paths: list[Path],
    *,
    out: Path,
    reference: Path | None = None,
    formula_column: str | None = None,
    static: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> dict[str, Any]:
    """Write OUT/index.html, a page that needs nothing beside it, and with `static` OUT/figures.

    Args:
        paths: runs, folders of runs, folders of candidates, tables.
        reference: known compounds, as `read_known_compounds` takes them.
        formula_column: its name in tables; by default one of the usual ones.
        static: whether figures are written as PNG and SVG, too.
        overwrite: whether files that an earlier call wrote there may be replaced; others stay in any case.

    Returns:
        `page`, `bytes`, `n_rows`, `figures` (their keys), `verdicts` and `funnel` as the page states them.

    Raises:
        RunFolderError: for a run without candidates, and when another process writes to `out`.
        TableError: for a file that is no table of formulas.
        PlaceError: when `out` holds files of these names that are not to be replaced.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    with RunLock(out), scratch_folder(out) as scratch:
        check_place(out, [PAGE], overwrite)
        with Progress("read", len(paths), quiet) as progress:
            sources = read_sources(paths, formula_column)
            notes = []
            if reference is None and (own := reference_of(sources)) is not None:
                reference = own
                notes.append(f"Known compounds are those that the reward compares with: {own}.")
            known = None if reference is None else read_known_compounds(reference, formula_column, quiet)
            if known is not None and known.bad_rows:
                notes.append(f"{len(known.bad_rows)} rows of the reference are left out; {known.bad_rows[0]}")
            progress.update(len(paths))
        sections = _sections(sources, known, quiet)
        figures = [figure for section in sections for figure in section.figures]
        files = {PAGE: scratch / PAGE}
        solids = gallery(sources, _STRUCTURES)
        lines = funnel(sources)
        tables = [page_table(source) for source in sources]
        with writing_to(out):
            files[PAGE].write_text(_page(sources, sections, lines, tables, solids, notes), encoding="utf-8")
            if static:
                files |= _static(figures, scratch, quiet)
            check_place(out, files, overwrite or bool(own_files(out)))
            n_bytes = files[PAGE].stat().st_size
            take_over(out, files)
    return {
        "page": str(out / PAGE),
        "bytes": n_bytes,
        "n_rows": {source.label: source.n_rows for source in sources},
        "figures": [figure.key for figure in figures],
        "verdicts": {source.label: verdict(source) for source in sources},
        "funnel": as_plain(lines, sources),
    }


def _sections(sources: list[Source], known: Known | None, quiet: bool) -> list[Section]:
    with Progress("compare", len(sources), quiet) as progress:
        compared = []
        for source in sources:
            compared.append(term_values(source, known))
            progress.update(len(compared))
    formulas = None if known is None else known.compositions
    return [
        learning_section(sources),
        fit_section(sources),
        distributions(sources, compared),
        element_section(sources),
        map_section(sources, formulas),
        hull_section(sources, known),
        space_group_section(sources),
    ]


def _static(figures: list[Figure], scratch: Path, quiet: bool) -> dict[str, Path]:
    """Files of all figures by their names in the report's folder."""
    (scratch / _FIGURES).mkdir()
    found: dict[str, Path] = {}
    with Progress("draw", len(figures), quiet) as progress:
        for figure in figures:
            name = f"{_FIGURES}/{re.sub(r'[^A-Za-z0-9_-]+', '_', figure.key)}"
            png, svg = scratch / f"{name}.png", scratch / f"{name}.svg"
            draw_static(figure, png, svg)
            found |= {f"{name}.png": png, f"{name}.svg": svg}
            progress.update(len(found) // 2)
    return found


def _page(
    sources: list[Source],
    sections: list[Section],
    lines: list[Any],
    tables: list[dict[str, Any]],
    solids: list[dict[str, Any]],
    notes: list[str],
) -> str:
    """The page as text; jinja2 escapes whatever stands in it, and data is packed."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["formula"] = _formula_html
    data = {
        "tables": tables,
        "figures": {figure.key: plotly_figure(figure) for section in sections for figure in section.figures},
        "structures": [solid["data"] for solid in solids],
    }
    from markupsafe import Markup

    return environment.from_string(page_file("report.html.j2")).render(
        title=", ".join(source.label for source in sources),
        sources=[_words(source) for source in sources],
        notes=notes,
        sections=sections,
        left_out=[section for section in sections if section.note and not section.figures],
        funnel=lines,
        rows_shown=", ".join(f"{len(source.rows):,}" for source in sources),
        gallery=solids,
        previews=[_preview(table) for table in tables],
        command=shlex.join(["oreflow", *sys.argv[1:]]),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        version=version("oreflow"),
        style=Markup(page_file("report.css")),
        script=Markup(page_file("report.js")),
        data=packed_json(data),
        plotly=packed_plotly(),
    )


def _words(source: Source) -> dict[str, Any]:
    return {
        "label": source.label,
        "verdict": verdict(source),
        "notes": source.notes,
        "asked": asked(source),
        "provenance": provenance(source),
    }


def _preview(table: dict[str, Any]) -> dict[str, Any]:
    """The first rows as text, for print and for browsers without scripts."""
    columns = table["columns"][:_PREVIEW_COLUMNS]
    rows = []
    for row in range(min(table["n_rows"], _PREVIEW_ROWS)):
        rows.append([{"kind": column["kind"], "text": _cell(column, row)} for column in columns])
    return {"label": table["label"], "columns": [column["title"] for column in columns], "rows": rows}


def _cell(column: dict[str, Any], row: int) -> str:
    value = column["values"][row]
    if value is None:
        return ""
    if column["kind"] == "number":
        return f"{value:.{column['digits']}f}"
    if column["kind"] == "flag":
        return "yes" if value else "no"
    return str(value)


def _formula_html(text: str) -> Any:
    """A formula with its counts as subscripts; whatever HTML would read in it is escaped first."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(?<=[A-Za-z)\]])(\d+(?:\.\d+)?)", r"<sub>\1</sub>", str(escape(text))))
