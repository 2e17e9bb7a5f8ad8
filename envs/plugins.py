"""Names that users may add to: worlds, rewards and whatever else has a `Registry`.

A name stands for something built in, for an installed entry point, or for what a plug-in file registers by a decorator.
One file may fill several registries; `load_plugin` runs it, and a file that fails leaves nothing behind.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from oreflow.envs.errors import OreflowError, PluginError
from oreflow.envs.suggestions import nearest

Thing = TypeVar("Thing")

_registries: list["Registry"] = []
_files: dict[Path, tuple[str, list[tuple["Registry", str]]]] = {}  # loaded so far: hash of the content, what it added
_loading: list[Path] = []  # the file that runs now, last


class Registry:
    """The names of one kind of thing.

    Args:
        word: what one is called in messages, such as "world".
        group: the group of entry points in which installed packages offer theirs.
        built_in: what ships with oreflow, as name: "module:attribute"; imported when it is first asked for.
        unknown: the exception for a name that nobody provides.

    Attributes:
        own: what decorators have registered, by name.
    """

    def __init__(
        self, word: str, group: str, built_in: Mapping[str, str], unknown: type[OreflowError] = PluginError
    ) -> None:
        self.word, self.group, self.built_in, self.unknown = word, group, dict(built_in), unknown
        self.own: dict[str, Any] = {}
        self._places: dict[str, str] = {}  # of own names: the file or module that registered them
        _registries.append(self)

    def register(self, name: str) -> Callable[[Thing], Thing]:
        """Register what is decorated under `name`.

        Raises:
            PluginError: when the name is taken, saying by whom.
        """

        def add(thing: Thing) -> Thing:
            new = f"plug-in {_loading[-1]}" if _loading else f"module {getattr(thing, '__module__', '?')}"
            if name in self.built_in or name in self.own:
                raise PluginError(
                    f"expected a new {self.word} name, got {name!r}, which is taken: {self.origin(name)} has it, and "
                    f"{new} asks for it; choose another name, or load only one of them"
                )
            self.own[name], self._places[name] = thing, new
            return thing

        return add

    def forget(self, name: str) -> None:
        """Remove what a decorator has registered."""
        self.own.pop(name, None)
        self._places.pop(name, None)

    def find(self, name: str) -> Any:
        """Find what a name stands for.

        Raises:
            PluginError: when an entry point cannot be loaded, or two plug-ins claim the name.
            OreflowError: of the type `unknown`, with near misses, when nobody provides the name.
        """
        points = self._entry_points().get(name, [])
        if name in self.own:
            if points and self.origin(name).startswith("plug-in "):  # a package may register what its own point names
                raise PluginError(
                    f"expected one {self.word} named {name!r}, got 2: {self.origin(name)} and entry point "
                    f"{points[0].value}; leave out --plugin, or uninstall the package"
                )
            return self.own[name]
        if name in self.built_in:
            module, attribute = self.built_in[name].split(":")
            return getattr(importlib.import_module(module), attribute)
        if len(points) > 1:
            where = ", ".join(point.value for point in points)
            raise PluginError(
                f"expected one installed {self.word} named {name!r}, got {len(points)}: {where}; uninstall one"
            )
        if points:
            try:
                return points[0].load()
            except (Exception, SystemExit) as error:
                raise PluginError(f"entry point {points[0].value} failed: {type(error).__name__}: {error}") from error
        raise self.unknown(
            f"expected the name of {'an' if self.word[0] in 'aeiou' else 'a'} {self.word}, got {name!r} (one of your "
            f"own needs --plugin FILE.py); {nearest(str(name), self.names())}"
        )

    def names(self) -> dict[str, str]:
        """List all known names, and whether each is built in, of an entry point or of a plug-in."""
        known = dict.fromkeys(self.built_in, "built in")
        for name, points in self._entry_points().items():
            known.setdefault(name, "entry point " + " and ".join(point.value for point in points))
        return known | dict.fromkeys(self.own, "plug-in")

    def is_built_in(self, name: str) -> bool:
        """Tell whether a name ships with oreflow."""
        return name in self.built_in and name not in self.own

    def origin(self, name: str) -> str:
        """Say where a known name comes from, with the file or the entry point."""
        return self._places.get(name, "plug-in") if name in self.own else self.names()[name]

    def _entry_points(self) -> dict[str, list[EntryPoint]]:
        out: dict[str, list[EntryPoint]] = {}
        for point in _installed(entry_points, self.group, tuple(sys.path)):
            out.setdefault(point.name, []).append(point)
        return out


@cache
def _installed(find: Callable[..., Iterable[EntryPoint]], group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of a group; a start asks some thirty times, and each look reads every installed package."""
    return tuple(find(group=group))


def _entries() -> list[tuple[Registry, str]]:
    return [(registry, name) for registry in _registries for name in registry.own]


def load_plugin(
    path: str | Path, watch: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
) -> list[str]:
    """Run a plug-in file, and return the names it registered, of whatever kind.

    A file loaded before is not run again, unless it was edited since: what it registered is then replaced.

    Args:
        path: a Python file.
        watch: makes the context in which the file runs.

    Raises:
        PluginError: when the file is missing, fails on import, or registers nothing. Nothing of it stays.
    """
    path = Path(path)
    if not path.is_file():
        raise PluginError(f"expected a Python file, found none at {path}")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded, entries = _files.pop(path.resolve(), ("", []))
    if loaded == content and all(name in registry.own for registry, name in entries):
        _files[path.resolve()] = loaded, entries
        return [name for _, name in entries]
    for registry, name in entries:
        registry.forget(name)
    before = _entries()
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]  # two files may share a name
    module_name = f"oreflow_plugin_{path.stem}_{place}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"expected a Python file (.py), got {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    _loading.append(path)
    try:
        with watch():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        # Nothing of a broken plug-in stays, so that a mended one can be loaded and others are unaffected.
        del sys.modules[module_name]
        for registry, name in _entries():
            if (registry, name) not in before:
                registry.forget(name)
        what = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        raise PluginError(f"{path} failed on import: {what}") from error
    finally:
        _loading.pop()
    added = sorted((entry for entry in _entries() if entry not in before), key=lambda entry: entry[1])
    if not added:
        raise PluginError(
            f"{path} registered no reward; decorate its class with @rewards.register('name'), or what else it brings "
            "with @register_world, @register_policy, @register_objective or @register_potential"
        )
    _files[path.resolve()] = content, added
    return [name for _, name in added]


def plugin_files() -> list[Path]:
    """List the plug-in files loaded so far, in order."""
    return list(_files)


def forget_all() -> None:
    """Forget every plug-in file and all that decorators have registered."""
    for registry, name in _entries():
        registry.forget(name)
    _files.clear()
