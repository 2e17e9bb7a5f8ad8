"""The contract test of kernels finds what is wrong with one, and says what usually causes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.envs.contract.check import check_kernel
from oreflow.envs.errors import KernelContractError
from oreflow.envs.objects.compositions import Compositions
from tests.support.repository import ROOT
from tests.support.worlds import kernel as composition_kernel

EXAMPLE = (ROOT / "examples" / "my_world.py").read_text(encoding="utf-8")
MASK = "(states[:, :-1] == action + 1).sum(axis=1) < self.size"
FAULTS = {
    "a dead end": (MASK, f"{MASK} - action", "dead end at .*: feasibility admits what cannot be finished"),
    "an illegal step": (MASK, f"{MASK} + action", r"outside \[0, state_high\]: action 1, which the mask of .* allows"),
    "an object counted twice": (
        'Rows("lattice_paths", states[:, :-1])',
        'Rows("lattice_paths", np.sort(states[:, :-1], axis=1))',
        "is counted twice: the terminal states .* are this one object, which would be drawn twice as often",
    ),
    "a step in place": ("np.empty_like(states) if out is None", "states if out is None", "step changed its input"),
    "a wrong inverse": (
        "(np.asarray(actions) == STOP).astype(np.int64)",
        "(np.asarray(actions) != STOP).astype(np.int64)",
        "the action just taken cannot be undone",
    ),
    "masks of numbers": ("dtype=np.bool_) if out is None else out", "dtype=np.int8)", "must be boolean"),
    "a parent too few": (
        "stopped = states[:, -1] == 1\n",
        "stopped = states[:, -1] == 1\n        stopped |= self.n_taken(states) == self.length\n",
        "backward",
    ),
    "tokens out of range": ("2 * np.arange(self.length) + steps - 1", "9 * np.arange(self.length)", "a token lies"),
    "too many states": ("enumerate_states(self)", "enumerate_states(PathKernel(self.size + 1))", "enumerate gives"),
}


def broken(old: str, new: str) -> str:
    assert EXAMPLE.count(old) == 1, old
    return EXAMPLE.replace(old, new)


def path_kernel(source: str, size: int = 3) -> Any:
    names: dict[str, Any] = {"__name__": "broken"}
    text, _, _ = source.partition("@register_world")  # the kernel alone
    exec(compile(text, "my_world.py", "exec"), names)
    return names["PathKernel"](size)


def test_the_example_fulfils_the_contract(rng: np.random.Generator) -> None:
    check_kernel(path_kernel(EXAMPLE), rng, 50, "lattice_paths")


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_explained(name: str, rng: np.random.Generator) -> None:
    old, new, message = FAULTS[name]
    with pytest.raises(KernelContractError, match=message):
        check_kernel(path_kernel(broken(old, new)), rng, 20, "lattice_paths")


def test_the_kind_of_objects_is_the_world_s(rng: np.random.Generator) -> None:
    with pytest.raises(KernelContractError, match="kind 'lattice_paths', but the world's object_kind is 'structure'"):
        check_kernel(path_kernel(EXAMPLE), rng, 5, "structure")


@pytest.mark.parametrize("fault", ["unsorted", "an element twice"])
def test_unsorted_compositions_are_put_in_order_and_bad_ones_found(
    fault: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches rely on ascending atomic numbers: unsorted ones would be judged wrongly, and in silence."""
    kernel = composition_kernel("hard")
    check_kernel(kernel, rng, 20, "composition")
    sorted_objects = type(kernel).objects

    def careless(self: Any, states: np.ndarray) -> Compositions:
        objects = sorted_objects(self, states)
        zs, counts = objects.atomic_numbers[:, ::-1].copy(), objects.counts[:, ::-1].copy()
        if fault == "an element twice":
            zs[zs > 0] = 8
        return Compositions(zs, counts)

    monkeypatch.setattr(type(kernel), "objects", careless)
    if fault == "unsorted":
        check_kernel(kernel, rng, 20, "composition")
        states = kernel.enumerate().states[-20:]
        np.testing.assert_array_equal(kernel.objects(states).pairs(), sorted_objects(kernel, states).pairs())
    else:
        with pytest.raises(KernelContractError, match=r"each element once in a row"):
            check_kernel(kernel, rng, 20, "composition")


def test_faults_of_a_plug_in_name_it(tmp_path: Path) -> None:
    from tests.support.cli import refused

    old, new, _ = FAULTS["a dead end"]
    path = tmp_path / "broken.py"
    path.write_text(broken(old, new))
    config = ROOT / "examples" / "my_world.yaml"
    for verb in (("check", config), ("train", config, "--out", tmp_path / "run")):
        refused("world 'lattice_paths' (plug-in ", *verb, "--plugin", path)
    assert not (tmp_path / "run").exists()
