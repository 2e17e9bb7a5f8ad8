"""The folder of a fitted model: its files, names and versions, written whole or not at all."""

import inspect
import platform
import shlex
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from oreflow.envs.atomic_files import replacing
from oreflow.envs.errors import OreflowError
from oreflow.envs.suggestions import nearest

SCHEMA_VERSION = 2


MODEL_FILE, WEIGHTS_FILE, CARD_FILE = "model.json", "weights.safetensors", "README.md"


class EnergyModelError(OreflowError, ValueError):
    """A directory that does not hold a usable property model."""


def _pretrained() -> Path:
    return Path(str(files("oreflow.rewards"))) / "pretrained"


def pretrained_names() -> tuple[str, ...]:
    """Names of the models that ship with oreflow."""
    return tuple(sorted(path.parent.name for path in _pretrained().glob(f"*/{MODEL_FILE}")))


def model_directory(name_or_path: str | Path) -> Path:
    """The directory of a shipped model by its name, or of a fitted one by its path.

    Raises:
        EnergyModelError: when it is neither.
    """
    if str(name_or_path) in pretrained_names():
        return _pretrained() / str(name_or_path)
    if (Path(name_or_path) / MODEL_FILE).is_file():
        return Path(name_or_path)
    raise EnergyModelError(
        f"expected the name of a shipped model or a directory with {MODEL_FILE}, got {str(name_or_path)!r}; "
        f"{nearest(str(name_or_path), pretrained_names())}; `oreflow fit` fits a new one"
    )


FORMATION_ENERGY_COLUMN, FORMATION_ENERGY_UNIT = "formation_energy_per_atom", "eV/atom"


class FitOutputError(OreflowError, OSError):
    """A place where the fitted model cannot be written."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a fit depends on, by name."""
    packages = ("numpy", "torch", "numba", "pymatgen", "safetensors")
    return {"python": platform.python_version(), **{name: version(name).split("+")[0] for name in packages}}


_OPTIONS = {
    "target_column": "--column",
    "formula_column": "--formula-column",
    "formation_energy": "--formation-energy",
    "unit": "--unit",
    "property_name": "--property",
    "quick": "--quick",
    "from_pretrained": "--from-pretrained",
    "n_members": "--members",
    "n_epochs": "--epochs",
    "seed": "--seed",
    "max_minutes": "--max-minutes",
    "data_source": "--source",
    "citations": "--cite",
    "compositions_path": "--compositions",
}


def command_of(fit: Callable[..., Any], arguments: dict[str, Any]) -> str:
    """The command that repeats a fit, or the call where the command lacks an option; defaults are left out."""
    data, out = Path(arguments["csv_path"]).name, Path(arguments["out_dir"]).name
    given = {
        name: arguments[name]
        for name, parameter in inspect.signature(fit).parameters.items()
        if name not in ("csv_path", "out_dir", "progress") and arguments[name] != parameter.default
    }
    if not set(given) <= set(_OPTIONS):
        keywords = "".join(f"    {name}={value!r},\n" for name, value in given.items())
        name = fit.__name__
        return f"from {fit.__module__} import {name}\n\n{name}(\n    {data!r},\n    {out!r},\n{keywords})"
    verb = "fit-energy"
    if given.get("property_name") is not None:  # then the column is the one of this name unless another is given
        verb = "fit"
        given.pop("target_column", None)
        if given["property_name"] != arguments["target_column"]:
            given["target_column"] = arguments["target_column"]
    words = [f"oreflow {verb} {shlex.quote(data)} --out {shlex.quote(out)}"]
    for name, value in given.items():
        option = _OPTIONS[name]
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            for item in [value] if isinstance(value, str | int | float | Path) else value:
                text = item.name if isinstance(item, Path) else str(item)
                words.append(f"{option} {shlex.quote(text)}")
    return " \\\n    ".join(words)


def write_model_files(out_dir: Path, contents: dict[str, bytes]) -> None:
    """Write all files beside their places, then rename them in order; a reader never sees half of one.

    Raises:
        FitOutputError: when the folder cannot be written.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with replacing(*(out_dir / name for name in contents)) as temporaries:
            for temporary, content in zip(temporaries, contents.values()):
                temporary.write_bytes(content)
    except OSError as error:
        raise FitOutputError(
            f"expected a folder that can be written at {out_dir}, got: {error}; choose another folder, or free space"
        ) from None
