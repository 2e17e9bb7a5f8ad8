"""Checkpoints: safetensors and JSON under a manifest of checksums; no pickle.

A checkpoint is a folder, written under a temporary name and renamed when complete, so a folder called
`step_00012000` is whole or does not exist.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from oreflow.agent.errors import CheckpointError, CheckpointWarning
from oreflow.agent.policy.network import Policy
from oreflow.agent.storage.atomic_files import sha256, sync
from oreflow.envs.arrays import Arrays

SCHEMA_VERSION = 2
_SET_ASIDE = "_old"


def save_checkpoint(
    folder: Path,
    step: int,
    policy: Policy | None,
    optimizer: torch.optim.Optimizer | None,
    rng: np.random.Generator,
    state: dict[str, Any],
    keep: int,
    arrays: Arrays | None = None,
) -> Path:
    """Writes `folder/step_<step>` and removes all but the newest `keep` checkpoints up to it.

    Those of later steps go too: the run went on from an earlier one, so they are damaged, or no part of it any more.

    Args:
        policy, optimizer: None for samplers that learn nothing.
        state: JSON-ready counters that training needs to go on.
        arrays: replay buffer, chains or population.
    """
    final = folder / f"step_{step:08d}"
    temporary = folder / f".tmp_step_{step:08d}"
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    temporary.mkdir()
    try:
        if policy is not None and optimizer is not None:
            weights = {k: v.detach().contiguous() for k, v in policy.state_dict().items()}
            save_file(weights, temporary / "policy.safetensors")
            moments = optimizer.state_dict()["state"]
            flat = {f"{i}.{k}": torch.as_tensor(v).contiguous() for i, slot in moments.items() for k, v in slot.items()}
            save_file(flat, temporary / "optimizer.safetensors")
        if arrays:
            with (temporary / "buffer.npz").open("wb") as file:
                np.savez(file, **arrays)
        full_state = {
            "schema_version": SCHEMA_VERSION,
            "step": step,
            "rng": rng.bit_generator.state,
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            **state,
        }
        (temporary / "state.json").write_text(json.dumps(full_state, indent=1), encoding="utf-8")
        digests = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / "MANIFEST.json").write_text(json.dumps(digests, indent=1), encoding="utf-8")
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        if final.exists():  # until the new one is in place
            final.rename(folder / f".tmp_step_{step:08d}{_SET_ASIDE}")
        temporary.rename(final)
        sync(folder)
    except SafetensorError as error:  # how its writer reports a full disk
        raise OSError(f"cannot write the checkpoint {final}: {error}; free space, or choose another --out") from None
    finally:
        sweep(folder)
    found = list_checkpoints(folder)
    n_done = found.index(final) + 1
    for unwanted in (*found[: max(n_done - keep, 0)], *found[n_done:]):
        # Renamed first, so that a removal cut short leaves no half of a checkpoint under the name of a whole one.
        shutil.rmtree(unwanted.rename(folder / f".tmp_{unwanted.name}_unwanted"))
    return final


def sweep(folder: Path) -> None:
    """Removes what a process that was killed while it wrote a checkpoint left behind.

    The caller is the only one that writes there. A checkpoint that was set aside for one that never came is put back.
    """
    for stray in folder.glob(".tmp_step_*"):
        name = stray.name.removeprefix(".tmp_")
        final = folder / name.removesuffix(_SET_ASIDE)
        if name.endswith(_SET_ASIDE) and not final.exists():
            stray.rename(final)
        else:
            shutil.rmtree(stray, ignore_errors=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob("step_*") if (path / "MANIFEST.json").is_file())


def verify_checkpoint(path: Path) -> None:
    """Compares every file with the manifest before anything is parsed.

    Raises:
        CheckpointError: naming the file that differs or is missing.
    """
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text(encoding="utf-8"))
        entries = dict(manifest)
    except (OSError, ValueError, TypeError):
        raise CheckpointError(f"{path} has no readable MANIFEST.json; it is no checkpoint of oreflow") from None
    if "state.json" not in entries:
        raise CheckpointError(f"{path}: the manifest does not list state.json; use an earlier checkpoint")
    for name, digest in entries.items():
        file = path / Path(name).name
        if not file.is_file() or sha256(file) != digest:
            raise CheckpointError(f"{file} is missing or does not match its checksum; use an earlier checkpoint")


def read_state(path: Path) -> dict[str, Any]:
    """Verify a checkpoint and return its counters, `rng` and config among them.

    Warns when other versions of torch or numpy wrote it.

    Raises:
        CheckpointError: for a damaged checkpoint, or one of another schema.
    """
    verify_checkpoint(path)
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if state.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(
            f"{path} has schema {state.get('schema_version')}, this version of oreflow reads {SCHEMA_VERSION}; go on "
            "with the version named in provenance.json, or train again"
        )
    for package, version in {"torch": torch.__version__, "numpy": np.__version__}.items():
        written = state.get("versions", {}).get(package)
        if written != version:
            warnings.warn(
                f"{path} was written with {package} {written}, this is {version}: what follows may differ from what "
                "would have followed there, if only in the last digits",
                CheckpointWarning,
                stacklevel=2,
            )
    return state


def load_policy(path: Path, policy: Policy) -> dict[str, Any]:
    """Loads verified weights into `policy` and returns the checkpoint's state.

    Raises:
        CheckpointError: for a damaged checkpoint, or one of another world or network.
    """
    state = read_state(path)
    file = path / "policy.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{path} has no policy.safetensors; it belongs to a sampler of another kind")
    weights = load_file(file)
    expected = {name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != found:
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise CheckpointError(f"{path} belongs to another world or network: {', '.join(different[:3])} differ in shape")
    policy.load_state_dict(weights)
    return state


def load_arrays(path: Path) -> Arrays:
    """Replay buffer, chains or population of a verified checkpoint; empty when there are none."""
    file = path / "buffer.npz"
    if not file.is_file():
        return {}
    with np.load(file, allow_pickle=False) as data:
        return dict(data)


def load_optimizer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    """Loads the moments written by `save_checkpoint` into an optimizer over the same parameters."""
    flat = load_file(path / "optimizer.safetensors")
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in flat.items():
        slot, key = name.split(".", 1)
        state.setdefault(int(slot), {})[key] = tensor
    current = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
