"""Which files of a folder oreflow wrote: a list beside them, so that no other file is ever replaced or removed."""

import contextlib
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from oreflow.agent.errors import PlaceError
from oreflow.agent.storage.atomic_files import to_json, write_text

MANIFEST = ".oreflow-files.json"
_FORMAT = "files that oreflow wrote into this folder"


def own_files(folder: Path) -> set[str]:
    """Names, relative to a folder, of the files that oreflow wrote there; links and what is gone are left out."""
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        names = data["files"] if data["about"] == _FORMAT else []
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if isinstance(name, str) and _inside(folder, name) and (folder / name).is_file()}


def check_place(folder: Path, names: Iterable[str], overwrite: bool) -> None:
    """Check that files may be written into a folder, before any work is done for them.

    Args:
        names: what will be written, relative to `folder`.
        overwrite: whether files that oreflow wrote there may be replaced.

    Raises:
        PlaceError: where a file of that name is not ours, where one is ours and `overwrite` is off, and where a link
            or a file stands in the place of a folder.
    """
    own = own_files(folder)
    for name in names:
        path = folder / name
        for part in (path, *path.parents[: len(Path(name).parts) - 1]):
            if part.is_symlink():
                raise PlaceError(f"{part} is a link, which oreflow does not write to; choose another --out")
        if path.parent != folder and path.parent.exists() and not path.parent.is_dir():
            raise PlaceError(f"{path.parent} is a file, expected a folder; choose another --out")
        if not os.path.lexists(path):
            continue
        if name not in own:
            raise PlaceError(f"{path} was not written by oreflow into this folder and stays; choose another --out")
        if not overwrite:
            raise PlaceError(f"{folder} holds results already; choose another --out, or add --overwrite")


def take_over(folder: Path, files: dict[str, Path]) -> None:
    """Move finished files into a folder, and remove what oreflow wrote there before and does not now.

    The list of our files is on the disk before the first of them moves: whatever happens, none is orphaned.

    Args:
        files: by name relative to `folder`, where each lies now, on the same disk.
    """
    before = own_files(folder)
    _write(folder, before | set(files))
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, folder / name)
    for name in before - set(files):
        (folder / name).unlink(missing_ok=True)
    _remove_empty(folder, before)
    _write(folder, files)


def add_to_manifest(folder: Path, names: Iterable[str]) -> None:
    """Record files that oreflow writes into a folder beside earlier ones of its own."""
    _write(folder, own_files(folder) | set(names))


def remove_own(folder: Path, further: Iterable[str] = ()) -> None:
    """Remove the files that oreflow wrote into a folder, and the folder where nothing else is in it.

    Args:
        further: names that are ours though no list says so, as those of earlier versions.
    """
    names = own_files(folder) | {name for name in further if (folder / name).is_file()}
    for name in names:
        if not any(part.is_symlink() for part in (folder / name, *(folder / name).parents[: len(Path(name).parts)])):
            (folder / name).unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    _remove_empty(folder, names)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _write(folder: Path, names: Collection[str]) -> None:
    write_text(folder / MANIFEST, to_json({"about": _FORMAT, "files": sorted(names)}))


def _remove_empty(folder: Path, names: Iterable[str]) -> None:
    for subfolder in {(folder / name).parent for name in names} - {folder}:
        with contextlib.suppress(OSError):
            subfolder.rmdir()


def _inside(folder: Path, name: str) -> bool:
    """Whether a name leads to a file in a folder, whatever a damaged list says."""
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts
