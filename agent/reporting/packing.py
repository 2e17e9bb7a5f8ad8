"""Data and scripts inside one HTML file: compressed, and of characters that HTML does not read."""

import base64
import gzip
from importlib.resources import files

from oreflow.agent.storage.atomic_files import to_json


def packed(text: str) -> str:
    """Compress a text into base64, none of whose characters can end or open a tag."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), compresslevel=6, mtime=0)).decode("ascii")


def packed_json(data: object) -> str:
    """The same of plain data."""
    return packed(to_json(data, indent=None))


def packed_plotly() -> str:
    """plotly.js as it lies in plotly's own wheel, under the MIT licence, which stands in its first line."""
    return packed(files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8"))


def page_file(name: str) -> str:
    """One of the page's own files: template, style, script."""
    return files("oreflow.agent.reporting").joinpath(f"page/{name}").read_text(encoding="utf-8")
