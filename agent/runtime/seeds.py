"""One root seed, one independent stream a purpose."""

import numpy as np
import torch

_PURPOSES = ("weights", "training", "sampling", "baseline", "check", "measurement", "picking")


def stream(seed: int, purpose: str, *parts: int) -> np.random.Generator:
    """The stream of a purpose, or of a part of it, such as a step; different ones are independent."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PURPOSES.index(purpose), *parts)))


def torch_generator(seed: int, purpose: str) -> torch.Generator:
    """The same for torch."""
    return torch.Generator().manual_seed(int(stream(seed, purpose).integers(2**63)))
