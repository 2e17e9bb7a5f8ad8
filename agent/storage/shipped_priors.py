"""Priors that ship with oreflow: config, card and weights, small enough to lie beside the code.

Weights are stored in eight bits a number with a scale a row; rows of tokens and actions that the fit has hardly met are
left out, and are 0 when read, so that they get what they share with others.
"""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from oreflow.agent.config.run import Config, load_config
from oreflow.agent.policy.network import Policy
from oreflow.envs.arrays import Bools

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.yaml", "weights.safetensors", "card.json"
_SCALE, _ROWS = ".scale", ".rows"
_LEAST_ROWS = 16  # smaller tensors stay in 16 bits


def _folder() -> Path:
    return Path(str(files("oreflow.agent"))) / "priors"


@cache
def shipped_names() -> tuple[str, ...]:
    """Names of the priors that ship with oreflow."""
    return tuple(sorted(path.parent.name for path in _folder().glob(f"*/{WEIGHTS_FILE}")))


def shipped_config(name: str) -> Config:
    """The config that a shipped prior was fitted under."""
    return _read_config(name).model_copy(deep=True)


@cache
def _read_config(name: str) -> Config:
    return load_config(_folder() / name / CONFIG_FILE)


def shipped_card(name: str) -> dict[str, Any]:
    """What a shipped prior is worth."""
    card: dict[str, Any] = json.loads((_folder() / name / CARD_FILE).read_text(encoding="utf-8"))
    return card


def card_of_prior(name_or_path: str) -> dict[str, Any]:
    """What a prior is worth, a shipped one or a run's; empty where a run has no card."""
    if name_or_path in shipped_names():
        return shipped_card(name_or_path)
    path = Path(name_or_path) / CARD_FILE
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return card


def fill(policy: Policy, name: str) -> None:
    """Give an untrained policy the weights of a shipped prior.

    Raises:
        RuntimeError: when its network has other names or shapes.
    """
    policy.load_state_dict(unpack(load_file(_folder() / name / WEIGHTS_FILE), policy.state_dict()))


def write_weights(policy: Policy, seen: dict[str, Bools], path: Path) -> None:
    """Write the weights of a policy in eight bits.

    Args:
        seen: of tensors by name, the rows that are kept, bool [row].
    """
    save_file(pack(policy.state_dict(), seen), path)


def pack(state: dict[str, torch.Tensor], seen: dict[str, Bools]) -> dict[str, torch.Tensor]:
    """Round tensors: large matrices to integers from -127 to 127 with a scale a row, others to float16."""
    out = {}
    for name, tensor in state.items():
        if tensor.ndim != 2 or len(tensor) < _LEAST_ROWS:
            out[name] = tensor.to(torch.float16).contiguous()
            continue
        if name in seen:
            rows = torch.from_numpy(np.flatnonzero(seen[name]).astype(np.int16))
            out[name + _ROWS], tensor = rows, tensor[rows.long()]
        scale = (tensor.abs().amax(dim=1) / 127).clamp(min=1e-6).to(torch.float16)
        out[name] = (tensor / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        out[name + _SCALE] = scale
    return out


def unpack(stored: dict[str, torch.Tensor], like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo `pack`: tensors of the shapes and types of `like`."""
    out = {}
    for name, tensor in stored.items():
        if name.endswith((_SCALE, _ROWS)):
            continue
        if name + _SCALE in stored:
            tensor = tensor.float() * stored[name + _SCALE].float()[:, None]
        if name + _ROWS in stored:
            whole = torch.zeros_like(like[name])
            whole[stored[name + _ROWS].long()] = tensor
            tensor = whole
        out[name] = tensor.to(like[name].dtype)
    return out
