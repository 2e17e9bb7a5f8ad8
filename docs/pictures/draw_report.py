"""Draw `report.png` of the README: what a report shows of a run, as a browser shows it.

    python docs/pictures/draw_report.py runs/quickstart/report/index.html

From the repository's root, after `make design` and `oreflow report runs/quickstart`, with Chromium on the path. Funnel
and elements stand side by side, the table below them.
"""

import json
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.support.chromium import Chromium

HERE = Path(__file__).parent
PAGE_WIDTH, WIDTH = 1240, 1200
SECTIONS = """JSON.stringify(Object.fromEntries([...document.querySelectorAll('section')].map(
    s => [s.id, [s.getBoundingClientRect().top + scrollY, s.getBoundingClientRect().bottom + scrollY]])))"""


def draw(page: Path, out: Path) -> None:
    """Write the picture of a report's page."""
    with tempfile.TemporaryDirectory() as scratch, Chromium(Path(scratch) / "profile") as browser:
        browser.open(page, width=PAGE_WIDTH, ready="drawn")
        places = json.loads(browser.run(SECTIONS))
        browser.screenshot(Path(scratch) / "page.png")
        whole = Image.open(Path(scratch) / "page.png").convert("RGB")

    def part(name: str) -> Image.Image:
        top, bottom = places[name]
        return whole.crop((0, round(top), PAGE_WIDTH, round(bottom)))

    half = WIDTH // 2
    above = [piece.resize((half, piece.height * half // piece.width)) for piece in (part("funnel"), part("elements"))]
    below = part("table")
    below = below.resize((WIDTH, below.height * WIDTH // below.width))
    height = max(piece.height for piece in above)
    picture = Image.new("RGB", (WIDTH, height + below.height), "white")
    for i, piece in enumerate(above):
        picture.paste(piece, (i * half, 0))
    picture.paste(below, (0, height))
    picture.quantize(256, Image.Quantize.MAXCOVERAGE).save(out, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), HERE / "report.png")
