"""The network of `rewards.models.composition.network` for prediction only: folded weights, work in place, no copies.

Elementwise passes over memory, not matrix products, limit the speed on a CPU. `forward` must keep every intermediate
for the gradient; `infer` keeps none, and is one and a half to two times as fast. A test holds the two equal.
"""

import torch
from torch import Tensor
from torch.nn import functional

from oreflow.rewards.models.composition.network import Architecture, NetworkInput
from oreflow.rewards.models.ensemble.layers import Parameters


def fold(p: Parameters, a: Architecture) -> Parameters:
    """Weights for `infer`: products of neighbouring linear maps and of norms with the maps behind them, float32."""
    features = p["trunk.weight"][:, : a.n_features]
    embedding_part, *pooled_parts = p["trunk.weight"][:, a.n_features :].split(a.node_width, dim=1)
    folded = {
        # Rows: features, then element fractions through the embedding.
        "trunk.input": torch.cat([features, torch.bmm(p["embedding"], embedding_part)], dim=1),
        # With the bias, which then needs no addition of its own.
        "ordered": torch.baddbmm(p["trunk.bias"], p["ordered.prototype"], p["ordered.weight"]),
        "anonymous": torch.bmm(p["anonymous.prototype"], p["anonymous.weight"]),
        "amount.weight": p["amount.weight"],
        "amount.mix": p["amount.mix"],
        "amount.bias": p["amount.bias"],
        "context0": torch.bmm(p["embedding"], p["round0.context"]),
        "head.weight": p["head.norm"].transpose(1, 2) * p["head.weight"],
        "head.bias": p["head.bias"],
    }
    for r in range(a.n_rounds):
        folded[f"table{r}"] = p[f"round{r}.table"]
        folded[f"trunk.pooled{r}"] = pooled_parts[r]
        if r > 0:
            folded[f"weight{r}"] = p[f"round{r}.weight"]
            folded[f"context{r}"] = p[f"round{r}.context"]
    for b in range(a.n_blocks):
        gate = p[f"block{b}.norm"].transpose(1, 2) * p[f"block{b}.gate"]
        value_bias, gate_bias = p[f"block{b}.gate_bias"].chunk(2, dim=2)
        value, gate = gate.chunk(2, dim=2)
        folded |= {f"block{b}.value": value, f"block{b}.gate": gate}
        folded |= {f"block{b}.value_bias": value_bias, f"block{b}.gate_bias": gate_bias}
        folded |= {f"block{b}.out": p[f"block{b}.out"], f"block{b}.out_bias": p[f"block{b}.out_bias"]}
    return {name: tensor.contiguous() for name, tensor in folded.items()}


def slot_ranges(slot_sizes: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """(first node, end, size) of every slot."""
    slots, first = [], 0
    for size in slot_sizes:
        slots.append((first, first + size, size))
        first += size
    return slots


def infer(w: Parameters, x: NetworkInput, a: Architecture) -> tuple[Tensor, Tensor]:
    """What `forward` returns, from folded weights; call it under `torch.inference_mode()`."""
    stream, _ = infer_stream(w, x, a)
    return infer_read_out(w, stream, a)


def infer_stream(w: Parameters, x: NetworkInput, a: Architecture) -> tuple[Tensor, Tensor]:
    """What `composition_stream` returns, from folded weights."""
    n, slots = a.n_members, slot_ranges(x.slot_sizes)
    fractions = x.fractions.expand(n, -1, -1)
    stream = w["ordered"].index_select(1, x.prototypes[:, 0])
    stream += w["anonymous"].index_select(1, x.prototypes[:, 1])
    stream.baddbmm_(torch.cat([x.features, x.fractions], 1).expand(n, -1, -1), w["trunk.input"])
    context = torch.bmm(fractions, w["context0"])
    amounts = torch.cat([x.node_fraction, x.node_fraction.sqrt()], dim=1).expand(n, -1, -1)
    mixed = torch.bmm(amounts, w["amount.weight"])
    for r in range(a.n_rounds):
        nodes = w[f"table{r}"].index_select(1, x.node_element)
        if r > 0:
            nodes.baddbmm_(mixed, w[f"weight{r}"])
        else:
            nodes += mixed
        for first, end, size in slots:
            nodes[:, first:end] += context[:, :size]
        functional.silu(nodes, inplace=True)
        if r == 0:
            nodes = functional.silu(torch.baddbmm(w["amount.bias"], nodes, w["amount.mix"]), inplace=True)
        pooled = nodes[:, : slots[0][1]] * x.node_fraction[: slots[0][1]]
        for first, end, size in slots[1:]:
            pooled[:, :size].addcmul_(nodes[:, first:end], x.node_fraction[first:end])
        stream.baddbmm_(pooled, w[f"trunk.pooled{r}"])
        if r + 1 < a.n_rounds:
            context = torch.bmm(pooled, w[f"context{r + 1}"])
        mixed = nodes
    return stream, pooled


def infer_read_out(w: Parameters, stream: Tensor, a: Architecture) -> tuple[Tensor, Tensor]:
    """What `read_out` returns, from folded weights; changes `stream`."""
    width = (a.trunk_width,)
    for b in range(a.n_blocks):
        h = functional.layer_norm(stream, width)
        gate = functional.silu(torch.baddbmm(w[f"block{b}.gate_bias"], h, w[f"block{b}.gate"]), inplace=True)
        gate *= torch.baddbmm(w[f"block{b}.value_bias"], h, w[f"block{b}.value"])
        stream.baddbmm_(gate, w[f"block{b}.out"])
        stream += w[f"block{b}.out_bias"]
    out = torch.baddbmm(w["head.bias"], functional.layer_norm(stream, width), w["head.weight"])
    return out[..., 0], out[..., 1]
