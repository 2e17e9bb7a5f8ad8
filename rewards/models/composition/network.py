"""The network of the property model: an ensemble over sets of elements, all members in one batched matrix product.

Each element of a composition is a node that exchanges messages with the composition's weighted mean (as in Roost and
CrabNet, but linear in the number of elements); the pooled nodes join the features of the whole composition and the
vectors of its prototypes in a residual trunk of gated blocks (SwiGLU: Shazeer, arXiv:2002.05202). Each member predicts
a mean and a log scale.

Every parameter carries the member as its axis 0, so that neither fitting nor inference loops over members.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from oreflow.rewards.models.composition.inputs import EncodedRows
from oreflow.rewards.models.ensemble.layers import Dropout, Parameters, lookup, pool, random_parameters, to_nodes


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network.

    Attributes:
        n_members: members of the ensemble.
        n_elements: elements in scope; node index 0 to n_elements - 1.
        n_features: standardised input features of the whole composition.
        n_ordered_prototypes, n_anonymous_prototypes: vectors for prototypes by electronegativity and by size of the
            counts; the first of each is for all that are rare.
        prototype_width: width of these vectors.
        node_width: width of the element vectors.
        n_rounds: message rounds; each adds a pooled vector to the trunk's input.
        trunk_width: width of the residual stream.
        n_blocks: gated residual blocks.
    """

    n_members: int
    n_elements: int
    n_features: int
    n_ordered_prototypes: int = 1
    n_anonymous_prototypes: int = 1
    prototype_width: int = 32
    node_width: int = 128
    n_rounds: int = 2
    trunk_width: int = 128
    n_blocks: int = 4

    def to_dict(self) -> dict[str, int]:
        """As plain numbers, for `model.json`."""
        return asdict(self)


@dataclass(frozen=True)
class NetworkInput:
    """A batch, rows in descending order of their number of elements.

    Nodes are packed slot by slot: the first element of every row, then the second of every row that has one, and so
    on. Messages to and from the rows are then slices, without scatter and without padding.

    Attributes:
        features: float32 [batch, feature].
        fractions: float32 [batch, element], atomic fractions by element index.
        prototypes: int64 [batch, 2], index of the prototype by electronegativity and by size.
        node_element: int64 [node], element index.
        node_fraction: float32 [node, 1].
        slot_sizes: nodes of each slot; the first entry is the batch size.
    """

    features: Tensor
    fractions: Tensor
    prototypes: Tensor
    node_element: Tensor
    node_fraction: Tensor
    slot_sizes: tuple[int, ...]


def pack(rows: EncodedRows, n_elements: int) -> NetworkInput:
    """Builds the input of the network from rows in descending order of their number of elements."""
    present = rows.elements >= 0
    slot_sizes = tuple(int(size) for size in present.sum(axis=0) if size)
    dense = np.zeros((len(rows.elements), n_elements + 1), dtype=np.float32)
    # -1 goes to the last column, which is cut off below.
    np.put_along_axis(dense, rows.elements % (n_elements + 1), rows.fractions, axis=1)
    # Transposed, because a boolean mask reads row-major and the packing is slot-major.
    return NetworkInput(
        torch.from_numpy(rows.features),
        torch.from_numpy(dense[:, :n_elements]),
        torch.from_numpy(rows.prototypes),
        torch.from_numpy(rows.elements.T[present.T]),
        torch.from_numpy(rows.fractions.T[present.T][:, None]),
        slot_sizes,
    )


def parameter_shapes(a: Architecture) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter, member axis first."""
    trunk_input = a.n_features + (1 + a.n_rounds) * a.node_width
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (a.n_elements, a.node_width),
        "amount.weight": (2, a.node_width),
        "amount.mix": (a.node_width, a.node_width),
        "amount.bias": (1, a.node_width),
        "trunk.weight": (trunk_input, a.trunk_width),
        "trunk.bias": (1, a.trunk_width),
        "ordered.prototype": (a.n_ordered_prototypes, a.prototype_width),
        "ordered.weight": (a.prototype_width, a.trunk_width),
        "anonymous.prototype": (a.n_anonymous_prototypes, a.prototype_width),
        "anonymous.weight": (a.prototype_width, a.trunk_width),
        "head.norm": (1, a.trunk_width),
        "head.weight": (a.trunk_width, 2),
        "head.bias": (1, 2),
    }
    for r in range(a.n_rounds):
        shapes[f"round{r}.table"] = (a.n_elements, a.node_width)
        shapes[f"round{r}.context"] = (a.node_width, a.node_width)
        if r > 0:
            shapes[f"round{r}.weight"] = (a.node_width, a.node_width)
    for b in range(a.n_blocks):
        shapes[f"block{b}.norm"] = (1, a.trunk_width)
        shapes[f"block{b}.gate"] = (a.trunk_width, 2 * a.trunk_width)
        shapes[f"block{b}.gate_bias"] = (1, 2 * a.trunk_width)
        shapes[f"block{b}.out"] = (a.trunk_width, a.trunk_width)
        shapes[f"block{b}.out_bias"] = (1, a.trunk_width)
    return {name: (a.n_members, *shape) for name, shape in shapes.items()}


def initial_parameters(architecture: Architecture, seed: int) -> Parameters:
    """Random initial parameters, float32, different in every member."""
    return random_parameters(parameter_shapes(architecture), seed)


def forward(
    p: Parameters, x: NetworkInput, architecture: Architecture, dropout: Dropout | None = None
) -> tuple[Tensor, Tensor]:
    """Runs all members on one batch.

    Args:
        p: parameters as in `parameter_shapes`.
        x: the batch.
        architecture: sizes.
        dropout: applied to the hidden units of each block, in fits only.

    Returns:
        mean: float32 [member, batch], in units of the standardised target.
        log_scale: float32 [member, batch], natural logarithm of the expected absolute error in the same unit.
    """
    stream, _ = composition_stream(p, x, architecture)
    return read_out(p, stream, architecture, dropout)


def composition_stream(p: Parameters, x: NetworkInput, architecture: Architecture) -> tuple[Tensor, Tensor]:
    """The residual stream before its blocks, [member, batch, trunk], and the last pooled vector."""
    n_members = len(p["embedding"])
    pooled = [torch.matmul(x.fractions, p["embedding"])]
    amounts = torch.cat([x.node_fraction, x.node_fraction.sqrt()], dim=1)
    nodes = torch.matmul(amounts, p["amount.weight"])
    for r in range(architecture.n_rounds):
        if r > 0:
            nodes = torch.bmm(nodes, p[f"round{r}.weight"])
        context = torch.bmm(pooled[-1], p[f"round{r}.context"])
        nodes = nodes + lookup(p[f"round{r}.table"], x.node_element) + to_nodes(context, x.slot_sizes)
        nodes = functional.silu(nodes)
        if r == 0:
            nodes = functional.silu(torch.baddbmm(p["amount.bias"], nodes, p["amount.mix"]))
        pooled.append(pool(nodes * x.node_fraction, x.slot_sizes))

    features = x.features.expand(n_members, -1, -1)
    stream = torch.baddbmm(p["trunk.bias"], torch.cat([features, *pooled], dim=2), p["trunk.weight"])
    stream = stream + torch.bmm(lookup(p["ordered.prototype"], x.prototypes[:, 0]), p["ordered.weight"])
    stream = stream + torch.bmm(lookup(p["anonymous.prototype"], x.prototypes[:, 1]), p["anonymous.weight"])
    return stream, pooled[-1]


def read_out(
    p: Parameters, stream: Tensor, architecture: Architecture, dropout: Dropout | None
) -> tuple[Tensor, Tensor]:
    """Mean and log scale, [member, batch] each, from the residual stream through its blocks and the head."""
    width = (architecture.trunk_width,)
    for b in range(architecture.n_blocks):
        h = functional.layer_norm(stream, width) * p[f"block{b}.norm"]
        value, gate = torch.baddbmm(p[f"block{b}.gate_bias"], h, p[f"block{b}.gate"]).chunk(2, dim=2)
        hidden = value * functional.silu(gate)
        if dropout is not None:
            hidden = dropout(hidden)
        stream = stream + torch.baddbmm(p[f"block{b}.out_bias"], hidden, p[f"block{b}.out"])
    out = torch.baddbmm(p["head.bias"], functional.layer_norm(stream, width) * p["head.norm"], p["head.weight"])
    return out[..., 0], out[..., 1]
