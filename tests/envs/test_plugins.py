"""Registries of names: two plug-ins of one name, files that fill several registries, files that fail."""

from pathlib import Path
from typing import Any

import pytest

from oreflow.envs import plugins
from oreflow.envs.errors import PluginError
from oreflow.envs.plugins import Registry, forget_all, load_plugin


@pytest.fixture
def fruits(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(plugins, "_registries", [*plugins._registries])
    registry = Registry("fruit", "oreflow.fruits", {"path": "pathlib:Path"})
    monkeypatch.setattr(plugins, "FRUITS", registry, raising=False)
    return registry


def write(path: Path, *names: str, after: str = "") -> Path:
    lines = [f"FRUITS.register({name!r})(object())" for name in names]
    path.write_text("\n".join(["from oreflow.envs.plugins import FRUITS", *lines, after]))
    return path


class Point:
    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value

    def load(self) -> Any:
        if isinstance(self.value, str):
            return self.value
        raise self.value


def test_built_in_things_are_imported_when_asked_for(fruits: Registry) -> None:
    assert fruits.find("path") is Path
    assert fruits.names() == {"path": "built in"}
    assert fruits.is_built_in("path")


def test_two_plugin_files_of_one_name_are_both_named(fruits: Registry, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.py", "fig", "plum"), write(tmp_path / "b.py", "kiwi", "fig")
    assert load_plugin(first) == ["fig", "plum"]
    fig = fruits.find("fig")
    with pytest.raises(PluginError) as error:
        load_plugin(second)
    assert str(error.value) == (
        f"{second} failed on import: expected a new fruit name, got 'fig', which is taken: plug-in {first} has it, and "
        f"plug-in {second} asks for it; choose another name, or load only one of them"
    )
    assert set(fruits.own) == {"fig", "plum"}, "nothing of the second stays"
    assert fruits.find("fig") is fig
    assert plugins.plugin_files() == [first.resolve()]


def test_a_plugin_file_and_an_installed_package_of_one_name(
    fruits: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.py", "fig")
    load_plugin(path)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [Point("fig", "orchard:Fig"), Point("nut", "n:Nut")])
    with pytest.raises(PluginError, match=r"got 2: plug-in .*a\.py and entry point orchard:Fig; leave out --plugin"):
        fruits.find("fig")
    assert fruits.find("nut") == "n:Nut"
    assert fruits.origin("nut") == "entry point n:Nut"
    # A package whose module registers what its own entry point names is one plug-in, not two.
    forget_all()
    fruits.register("fig")(Point)
    assert fruits.find("fig") is Point


def test_two_packages_of_one_name_and_one_that_fails(fruits: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [Point("fig", "a:Fig"), Point("fig", "b:Fig"), Point("bad", ImportError("gone"))]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)
    with pytest.raises(PluginError, match=r"one installed fruit named 'fig', got 2: a:Fig, b:Fig; uninstall one"):
        fruits.find("fig")
    with pytest.raises(PluginError, match=r"entry point .* failed: ImportError: gone"):
        fruits.find("bad")


def test_an_unknown_name_and_its_neighbour(fruits: Registry) -> None:
    with pytest.raises(PluginError, match=r"name of a fruit, got 'paht' .*--plugin FILE\.py\); did you mean 'path'\?"):
        fruits.find("paht")


def test_a_file_that_fails_leaves_nothing_and_can_be_mended(fruits: Registry, tmp_path: Path) -> None:
    path = write(tmp_path / "a.py", "fig", after="1 / 0")
    with pytest.raises(PluginError, match=r"a\.py failed on import: ZeroDivisionError"):
        load_plugin(path)
    assert not fruits.own
    load_plugin(write(path, "fig", "plum"))
    old = fruits.find("fig")
    assert load_plugin(path) == ["fig", "plum"]
    assert fruits.find("fig") is old, "a file that did not change is not run again"
    assert load_plugin(write(path, "fig")) == ["fig"]
    assert set(fruits.own) == {"fig"}, "an edited file replaces what it registered"
    assert fruits.find("fig") is not old
