"""Hooks of MkDocs: pages of the repository that stand outside docs/, and an interface page for each room.

A link in a page is written as it works in the repository. In the site, `docs/` is the root, `README.md` the start page,
and other pages keep their paths; links are rewritten to that, and what they lead to (a config, a module) comes along.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
HOUSES = ("envs", "rewards", "agent")
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def site_path(repository_path: str) -> str:
    """Where a file of the repository stands in the site."""
    if repository_path == "README.md":
        return "index.md"
    return repository_path.removeprefix("docs/")


def repository_path(site_path: str) -> str:
    """The inverse: the file that a page of the site comes from."""
    if site_path == "index.md":
        return "README.md"
    return f"docs/{site_path}" if (ROOT / "docs" / site_path).is_file() else site_path


def target_of(page: str, link: str) -> str | None:
    """The file of the repository that a link leads to, a folder being its README; None for links into the network."""
    if "://" in link or link.startswith(("mailto:", "/")):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if (ROOT / path / "README.md").is_file():
        path = f"{path}/README.md"
    return path if (ROOT / path).is_file() else None


def modules(room: Path) -> list[str]:
    """The modules of one room as Python names them, without those that say `_private`."""
    names = [f for f in sorted(room.glob("*.py")) if not f.name.startswith("_")]
    return [".".join(("oreflow", *f.relative_to(ROOT).with_suffix("").parts)) for f in names]


def public_names() -> dict[str, str]:
    """What `import oreflow` offers: name, and "module:attribute" where it is defined."""
    tree = ast.parse((ROOT / "src" / "oreflow" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        named = [name.id for name in node.targets if isinstance(name, ast.Name)] if isinstance(node, ast.Assign) else []
        if named == ["_PUBLIC"] and isinstance(node, ast.Assign):
            return dict(sorted(ast.literal_eval(node.value).items()))
    raise RuntimeError("expected the table _PUBLIC in src/oreflow/__init__.py; the interface page is made from it")


def first_line(where: str) -> str:
    """The first sentence of the docstring of "module:attribute"."""
    module, _, attribute = where.partition(":")
    path = ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == attribute:
            text = ast.get_docstring(node)
            if text:
                return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")
    raise RuntimeError(f"expected a documented function or class {attribute} in {path}: oreflow offers it by this name")


def interface_pages() -> dict[str, tuple[str, str]]:
    """Title and Markdown of every interface page, by its path in the site."""
    lines = [
        "# import oreflow\n\nEach name is imported when it is first used.\n",
        "| name | what it does |",
        "|---|---|",
    ]
    for name, where in public_names().items():
        lines.append(f"| [oreflow.{name}][{where.replace(':', '.')}] | {first_line(where)} |")
    pages = {"interface/oreflow.md": ("import oreflow", "\n".join(lines))}
    for house in HOUSES:
        for marker in sorted((ROOT / house).rglob("__init__.py")):
            room = marker.parent
            names = modules(room)
            if not names or "templates" in room.parts:
                continue
            title = ".".join(("oreflow", *room.relative_to(ROOT).parts))
            body = "\n".join(f"::: {name}\n" for name in names)
            pages[f"interface/{title}.md"] = (title, f"# {title}\n\n{body}")
    return pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation entry "Python interface"."""
    nav: list[dict[str, Any]] = config.nav or []
    for entry in nav:
        if "Python interface" in entry:
            entry["Python interface"] = [{title: path} for path, (title, _) in interface_pages().items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, what any page links to, and the interface pages."""
    for path, (_, text) in interface_pages().items():
        files.append(File.generated(config, path, content=text))
    waiting = ["README.md", *(f"docs/{file.src_uri}" for file in files if (ROOT / "docs" / file.src_uri).is_file())]
    waiting = [path for path in waiting if path.endswith(".md")]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        if files.get_file_from_path(site_path(page)) is None:
            files.append(File.generated(config, site_path(page), abs_src_path=str(ROOT / page)))
        if not page.endswith(".md"):
            continue
        for _, link, _ in LINK.findall((ROOT / page).read_text(encoding="utf-8")):
            target = target_of(page, link)
            if target is not None and target not in seen:
                seen.add(target)
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links from the repository's paths to the site's; what leads nowhere stays, and MkDocs complains."""
    here = page.file.src_uri
    source = repository_path(here)

    def rewritten(match: re.Match[str]) -> str:
        target = target_of(source, match[2])
        if target is None:
            return match[0]
        return match[1] + posixpath.relpath(site_path(target), posixpath.dirname(here) or ".") + match[3]

    return markdown if here.startswith("interface/") else LINK.sub(rewritten, markdown)
