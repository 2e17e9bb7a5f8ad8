"""Layers that both energy networks are made of."""

import math

import torch
from torch import Tensor
from torch.nn import functional

Parameters = dict[str, Tensor]


def random_parameters(shapes: dict[str, tuple[int, ...]], seed: int) -> Parameters:
    """Random parameters of given names and shapes, float32; the last part of a name tells how they are spread."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, shape in shapes.items():
        kind = name.split(".")[-1]
        if "bias" in kind:
            parameters[name] = torch.zeros(shape)
        elif kind == "norm":
            parameters[name] = torch.ones(shape)
        else:
            spread = {"embedding": 1.0, "table": 0.5, "prototype": 0.3}.get(kind, 0.6 / math.sqrt(shape[1]))
            parameters[name] = spread * torch.randn(shape, generator=generator)
    return parameters


def lookup(table: Tensor, index: Tensor) -> Tensor:
    """Rows of every member's table: [member, element, width] and [node] -> [member, node, width]."""
    n_members, n_elements, width = table.shape
    offsets = n_elements * torch.arange(n_members).unsqueeze(1)
    return functional.embedding((index + offsets).reshape(-1), table.reshape(-1, width)).view(n_members, -1, width)


def to_nodes(rows: Tensor, slot_sizes: tuple[int, ...]) -> Tensor:
    """Each node's copy of its row: [member, batch, width] -> [member, node, width]."""
    return torch.cat([rows[:, :size] for size in slot_sizes], dim=1)


def pool(nodes: Tensor, slot_sizes: tuple[int, ...]) -> Tensor:
    """Sum over the nodes of each row: [member, node, width] -> [member, batch, width]."""
    slots = nodes.split(slot_sizes, dim=1)
    # From the last, shortest slot on: every addition then runs over the shorter of two pieces.
    total = slots[-1]
    for slot in reversed(slots[:-1]):
        n = total.shape[1]
        total = torch.cat([slot[:, :n] + total, slot[:, n:]], dim=1) if n < slot.shape[1] else slot + total
    return total


class Dropout:
    """Sets a random share of values to zero and scales the others up, with a random stream of its own.

    `torch.nn.functional.dropout` draws from the global generator, and a fit shall neither depend on it nor change it.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        self.share = share
        self._generator = generator

    def __call__(self, values: Tensor) -> Tensor:
        """Same shape."""
        kept = torch.empty_like(values).bernoulli_(1.0 - self.share, generator=self._generator)
        return values * kept.div_(1.0 - self.share)
