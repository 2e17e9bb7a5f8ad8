"""Reports in a real browser: it loads without a complaint, sorts, filters, and asks nobody for anything."""

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.agent.reporting.pages import data_of, large_table
from tests.support.chromium import PROGRAM, Chromium
from tests.support.cli import done

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed"),
]
COLUMN = "[...document.querySelectorAll('#view tbody tr:not(.space)')].map(r => r.children[{}].textContent)"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path / "profile") as chromium:
        yield chromium


def type_into(browser: Chromium, selector: str, text: str) -> None:
    browser.run(
        f"(() => {{ const e = document.querySelector({selector!r}); e.value = {text!r}; "
        "e.dispatchEvent(new Event('input')); })()"
    )


def test_it_sorts_and_filters(page: Path, browser: Chromium) -> None:
    frame = pd.read_parquet(page.parents[1] / "samples" / "candidates.parquet")
    browser.open(page)
    assert browser.run(COUNT) == f"{len(frame)} of {len(frame)} rows"
    assert browser.run(COLUMN.format(0))[:20] == frame["formula"].head(20).tolist()
    titles = browser.run("[...document.querySelectorAll('#view thead button')].map(b => b.textContent.trim())")
    energy = titles.index("formation energy / eV/atom")
    click = f"document.querySelectorAll('#view thead button')[{energy}].click()"
    expected = [f"{value:.3f}" for value in sorted(frame["formation_energy_ev_per_atom"])]
    browser.run(click)
    assert browser.run(COLUMN.format(energy))[:20] == expected[:20]
    assert browser.run(f"document.querySelectorAll('#view thead th')[{energy}].ariaSort") == "ascending"
    browser.run(click)
    assert browser.run(COLUMN.format(energy))[:20] == expected[::-1][:20]

    type_into(browser, "input[data-key=formula]", "Li O -S")
    wanted = frame["chemsys"].str.split("-").map(lambda s: "Li" in s and "O" in s and "S" not in s)
    assert 0 < wanted.sum() < len(frame)
    assert browser.run(COUNT) == f"{wanted.sum()} of {len(frame)} rows"
    type_into(browser, "input[data-key=formation_energy_ev_per_atom]", "< -1.2")
    both = wanted & (frame["formation_energy_ev_per_atom"].round(3) < -1.2)
    assert 0 < both.sum() < wanted.sum()
    assert browser.run(COUNT) == f"{both.sum()} of {len(frame)} rows"
    type_into(browser, "input[data-key=formation_energy_ev_per_atom]", "-1.2 .. -0.9")
    between = wanted & frame["formation_energy_ev_per_atom"].round(3).between(-1.2, -0.9)
    assert browser.run(COUNT) == f"{between.sum()} of {len(frame)} rows"
    type_into(browser, "input[data-key=formation_energy_ev_per_atom]", "low")
    assert browser.run("document.querySelector('[data-key=formation_energy_ev_per_atom]').ariaInvalid") == "true"
    for key in ("formula", "formation_energy_ev_per_atom"):
        type_into(browser, f"input[data-key={key}]", "")
    type_into(browser, "#search", "mn2")
    texts = [
        column["values"] for column in data_of(page)["tables"][0]["columns"] if column["kind"] in ("formula", "text")
    ]
    n_found = sum(any("mn2" in (cell or "").lower() for cell in row) for row in zip(*texts))
    assert 0 < n_found < len(frame)
    assert browser.run(COUNT) == f"{n_found} of {len(frame)} rows"
    assert browser.run("document.querySelector('#view tbody sub').textContent").isdigit()
    assert browser.problems == []


def test_the_download_is_what_is_in_view(page: Path, browser: Chromium) -> None:
    browser.open(page)
    type_into(browser, "input[data-key=formula]", "Mn")
    browser.run(
        "window.kept = null; const make = URL.createObjectURL; "
        "URL.createObjectURL = (blob) => { window.kept = blob; return make(blob); }; "
        "HTMLAnchorElement.prototype.click = function () {}; document.getElementById('download').click()"
    )
    lines = browser.run("window.kept.text()").splitlines()
    assert lines[0].startswith("formula,")
    assert f"{len(lines) - 1} of" in browser.run(COUNT)
    assert len(lines) > 3
    assert all("Mn" in line.split(",")[0] for line in lines[1:])


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_every_figure_is_drawn_without_a_complaint_or_a_request(
    width: int, dark: bool, page: Path, browser: Chromium
) -> None:
    browser.open(page, width=width, dark=dark, ready="drawn")
    n = browser.run("document.querySelectorAll('.plot').length")
    assert n > 10
    assert browser.run("document.querySelectorAll('.plot .main-svg').length") >= n
    assert browser.run("document.documentElement.scrollWidth") == width  # nothing sticks out to the side
    assert browser.problems == []
    assert browser.requests == []
    outside = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !/^(data|blob):/.test(n))"
    assert browser.run(outside) == []
    ink, paper = browser.run(
        "(() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]; })()"
    )
    assert (sum(map(int, paper[4:-1].split(", "))) < 200) is dark
    assert (sum(map(int, ink[4:-1].split(", "))) > 500) is dark


def test_the_browser_sees_problems_and_requests(tmp_path: Path, browser: Chromium) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<script>fetch('http://127.0.0.1:9/x').catch(() => {}); console.error('no'); "
        "document.documentElement.dataset.ready = 1; undefined.x;</script>"
    )
    browser.open(page)
    browser.run("new Promise(done => setTimeout(done, 300))")
    assert browser.requests == ["http://127.0.0.1:9/x"]
    assert len(browser.problems) >= 2


def test_in_print_the_first_rows_stand_in_for_the_table(page: Path, browser: Chromium, tmp_path: Path) -> None:
    browser.open(page, width=720, ready="drawn")
    browser.send("Emulation.setEmulatedMedia", media="print")
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    sticking_out = "[...document.querySelectorAll('.plot')].filter(b => b.scrollWidth > b.clientWidth + 1).length"
    browser.wait(f"{sticking_out} === 0", seconds=20)
    shown = "getComputedStyle(document.getElementById('{}')).display"
    assert browser.run(shown.format("first-rows")) == "block"
    assert browser.run(shown.format("browser")) == "none"
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "page.pdf").stat().st_size > 50_000


def test_a_hundred_thousand_rows(tmp_path: Path, browser: Chromium) -> None:
    table = large_table(tmp_path / "large.parquet", 100_000)
    done("report", table, "--out", tmp_path / "out", "-q")
    page = tmp_path / "out" / "index.html"
    assert page.stat().st_size < 15e6
    browser.send("Performance.enable", timeDomain="threadTicks")
    browser.open(page)
    metrics = browser.send("Performance.getMetrics")["metrics"]
    seconds = next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")
    assert seconds < 3.0  # of the page's thread, until the table answers and figures can be drawn
    assert browser.run(COUNT) == "100,000 of 100,000 rows"
    assert browser.run("document.querySelectorAll('#view tbody tr').length") < 100
    started = time.perf_counter()
    browser.run("document.querySelectorAll('#view thead button')[1].click()")
    type_into(browser, "input[data-key=formula]", "Li O")
    assert time.perf_counter() - started < 5.0
    frame = pd.read_parquet(table)
    wanted = frame[frame["formula_reduced"].str.contains(r"Li\d") & frame["formula_reduced"].str.contains(r"O\d")]
    assert browser.run(COUNT) == f"{len(wanted):,} of 100,000 rows"
    assert browser.run(COLUMN.format(1))[:5] == [f"{value:.2f}" for value in sorted(wanted["log_reward"])[:5]]
    browser.run("document.getElementById('view').scrollTop = 1e6")
    browser.wait(f"{COLUMN.format(0)}[0] !== undefined")
    assert browser.problems == []
