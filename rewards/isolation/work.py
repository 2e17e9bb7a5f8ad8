"""What a worker does for an isolated reward: builds the term, then gives values of one batch after another."""

import contextlib
import functools
import os
import pickle
import sys
import warnings
from collections.abc import Mapping
from typing import Any, BinaryIO

from oreflow.rewards.executors.messages import from_message
from oreflow.rewards.executors.protocol import Work
from oreflow.rewards.isolation.json_form import payload_from_json, payload_to_json, value_from_json, value_to_json

_SHOWN_CHARACTERS = 200


def reward_work(name: str, params: Mapping[str, Any], plugins: list[str], term: bytes | None = None) -> Work:
    """The work of giving values of one reward term.

    Args:
        name, params: as `rewards.registry.make_term` takes them.
        plugins: files to load before.
        term: pickled, instead of building one by name.
    """
    recipe = {"name": name, "params": dict(params), "plugins": plugins}
    return Work(
        "reward",
        # Which files a worker elsewhere loads is said by whoever starts it: nothing that is read runs code.
        {"name": name, "params": dict(params)},
        functools.partial(make_term_function, recipe, term),
        encode=payload_to_json,
        decode=payload_from_json,
        encode_value=value_to_json,
        decode_value=value_from_json,
        keep_output=True,
        scratch=False,
    )


class TermFunction:
    """Gives a batch's values, or says which rule the term breaks.

    Attributes:
        about: name, unit and so on of the term, and what it warned of while it was built.
    """

    def __init__(self, recipe: dict[str, Any], term: bytes | None) -> None:
        # pymatgen says this of every element without one; it is no message of the term's.
        warnings.filterwarnings("ignore", message="No Pauling electronegativity")
        from oreflow.rewards.contract.term import as_term
        from oreflow.rewards.errors import RewardWarning

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", message="No Pauling electronegativity")
            self._term = made = as_term(_build(recipe, term))
        told = [str(warning.message) for warning in said if issubclass(warning.category, RewardWarning)]
        self.about = {
            "name": made.name,
            "unit": made.unit,
            "version": made.version,
            "citations": made.citations,
            "requires": made.requires,
            "needs_geometry": made.needs_geometry,
            "warnings": told,
        }
        self._printed: BinaryIO = os.fdopen(os.dup(2), "r+b", buffering=0)

    def __call__(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return `values` and `side_effects` of a batch, or `raised` and `message`."""
        from oreflow.envs.errors import OreflowError
        from oreflow.rewards.contract.evaluation import evaluate_term
        from oreflow.rewards.contract.guard import guarded

        batch = from_message(message)
        try:
            # Standard streams stay those of the process, so that Python's and C's output meet in one file.
            with guarded(capture=False) as found:
                values = evaluate_term(self._term, batch, watched=False)
            found = [*found, *_printed(self._printed)]
        except OreflowError as error:
            return {"raised": type(error).__name__, "message": str(error)}
        return {"values": values, "side_effects": found}


def make_term_function(recipe: dict[str, Any], term: bytes | None) -> TermFunction:
    """Build the term of a recipe in this process, which must be a worker whose output is kept in a file."""
    return TermFunction(recipe, term)


def _build(recipe: dict[str, Any], term: bytes | None) -> Any:
    from oreflow.rewards.registry import load_plugin, make_term

    if term is not None:
        return pickle.loads(term)
    for path in recipe["plugins"]:
        load_plugin(path)
    return make_term(recipe["name"], recipe["params"])


def _printed(file: BinaryIO) -> list[str]:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # the term may have closed or removed it
            stream.flush()
    file.seek(0)
    text = file.read(4 * _SHOWN_CHARACTERS).decode(errors="replace").strip()
    file.seek(0)
    file.truncate()  # what is there when the process dies belongs to the last batch
    return [f"printed {text[:_SHOWN_CHARACTERS]!r}"] if text else []
