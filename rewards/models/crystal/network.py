"""The network of the crystal energy model: that of the composition model, and a second set network over sites.

A crystal's composition goes through the network of `rewards.models.composition.network` up to its residual stream.
There the crystal joins in: its space group, its prototypes, and its sites, nodes of which each is an element on a
position and which exchange messages with their weighted mean. What a row without sites gets is the composition model,
so that one ensemble learns from energies of crystals and from energies of compositions (Goodall et al., Sci. Adv. 8,
eabn4117 (2022), show that element and Wyckoff position go far without coordinates).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from oreflow.rewards.models.composition import network as base
from oreflow.rewards.models.composition.network import NetworkInput
from oreflow.rewards.models.crystal.inputs import N_CRYSTAL_FEATURES, N_SITE_FEATURES, EncodedCrystals
from oreflow.rewards.models.ensemble.layers import Dropout, Parameters, lookup, pool, to_nodes


@dataclass(frozen=True)
class CrystalArchitecture:
    """Sizes of the network.

    Attributes:
        composition: sizes of the composition's part, and of the blocks.
        n_space_groups, n_symbols, n_ordered, n_anonymous: vectors of space groups, site symmetries and prototypes; the
            first of each is for all that are rare.
        prototype_width: width of the vectors of space groups and prototypes.
        site_width: width of the sites' vectors.
        n_rounds: message rounds over the sites.
    """

    composition: base.Architecture
    n_space_groups: int
    n_symbols: int
    n_ordered: int
    n_anonymous: int
    prototype_width: int = 32
    site_width: int = 96
    n_rounds: int = 2

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, for `model.json`."""
        return asdict(self)

    @staticmethod
    def from_dict(sizes: dict[str, Any]) -> "CrystalArchitecture":
        """From what `to_dict` gave."""
        return CrystalArchitecture(**{**sizes, "composition": base.Architecture(**sizes["composition"])})


@dataclass(frozen=True)
class CrystalInput:
    """A batch, rows in descending order of their number of elements, and those with sites in that of their sites.

    Sites are packed slot by slot, as the elements are in `NetworkInput`.

    Attributes:
        composition: of all rows.
        row: int64 [crystal], the row of each crystal: crystals are the rows with sites.
        features: float32 [crystal, 16].
        space_group: int64 [crystal].
        prototypes: int64 [crystal, 2].
        site_element, site_symmetry: int64 [site].
        site_features: float32 [site, 6].
        site_fraction: float32 [site, 1].
        slot_sizes: sites of each slot; the first entry is the number of crystals.
    """

    composition: NetworkInput
    row: Tensor
    features: Tensor
    space_group: Tensor
    prototypes: Tensor
    site_element: Tensor
    site_symmetry: Tensor
    site_features: Tensor
    site_fraction: Tensor
    slot_sizes: tuple[int, ...]


def pack_crystals(rows: EncodedCrystals, n_elements: int) -> CrystalInput:
    """Builds the input of the network from rows in descending order of their number of elements."""
    n_sites = np.diff(rows.site_offsets)
    order = np.argsort(-n_sites, kind="stable")[: int((n_sites > 0).sum())]
    # How many crystals have a first, a second, ... site.
    most = int(n_sites.max()) if len(order) else 0
    sizes = np.searchsorted(-n_sites[order], -np.arange(1, most + 1), side="right")
    slot = np.repeat(np.arange(most), sizes)
    crystal = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    site = rows.site_offsets[order][crystal] + slot
    return CrystalInput(
        base.pack(rows.composition, n_elements),
        torch.from_numpy(order),
        torch.from_numpy(rows.features[order]),
        torch.from_numpy(rows.space_group[order]),
        torch.from_numpy(rows.prototypes[order]),
        torch.from_numpy(rows.site_element[site]),
        torch.from_numpy(rows.site_symmetry[site]),
        torch.from_numpy(rows.site_features[site]),
        torch.from_numpy(rows.site_fraction[site][:, None]),
        tuple(sizes.tolist()),
    )


def parameter_shapes(a: CrystalArchitecture) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter, member axis first."""
    c, width = a.composition, a.site_width
    row_width = a.prototype_width + N_CRYSTAL_FEATURES
    shapes: dict[str, tuple[int, ...]] = {
        "group.prototype": (a.n_space_groups, a.prototype_width),
        "group.bias": (1, c.trunk_width),
        "group.weight": (row_width, c.trunk_width),
        "crystal.ordered.prototype": (a.n_ordered, a.prototype_width),
        "crystal.anonymous.prototype": (a.n_anonymous, a.prototype_width),
        "crystal.weight": (2 * a.prototype_width, c.trunk_width),
        "site.group.context": (row_width, width),
        "site.composition.context": (c.node_width, width),
        "site.element.table": (c.n_elements, width),
        "site.symmetry.table": (a.n_symbols, width),
        "site.features.mix": (N_SITE_FEATURES, width),
        "site.bias": (1, width),
    }
    for r in range(a.n_rounds):
        shapes[f"site{r}.mix"] = (width, width)
        shapes[f"site{r}.bias"] = (1, width)
        shapes[f"site{r}.out"] = (width, c.trunk_width)
        if r > 0:
            shapes[f"site{r}.context"] = (width, width)
    return base.parameter_shapes(c) | {name: (c.n_members, *shape) for name, shape in shapes.items()}


def initial_parameters(architecture: CrystalArchitecture, seed: int) -> Parameters:
    """Random initial parameters, float32, different in every member."""
    return base.random_parameters(parameter_shapes(architecture), seed)


def forward(
    p: Parameters, x: CrystalInput, a: CrystalArchitecture, dropout: Dropout | None = None
) -> tuple[Tensor, Tensor]:
    """Runs all members on one batch; see `oreflow.rewards.models.composition.network.forward`.

    Returns:
        mean: float32 [member, batch], in units of the standardised target.
        log_scale: float32 [member, batch], natural logarithm of the expected absolute error in the same unit.
    """
    stream, pooled = base.composition_stream(p, x.composition, a.composition)
    if len(x.row):
        stream = stream.index_add(1, x.row, _crystal_stream(p, x, a, pooled.index_select(1, x.row)))
    return base.read_out(p, stream, a.composition, dropout)


def _crystal_stream(p: Parameters, x: CrystalInput, a: CrystalArchitecture, composition: Tensor) -> Tensor:
    """What crystals add to the residual stream, [member, crystal, trunk]; composition: [member, crystal, node]."""
    n_members = len(p["site.bias"])
    features = x.features.expand(n_members, -1, -1)
    row = torch.cat([lookup(p["group.prototype"], x.space_group), features], dim=2)
    prototypes = [lookup(p[f"crystal.{kind}.prototype"], x.prototypes[:, k]) for k, kind in _KINDS]
    stream = torch.baddbmm(p["group.bias"], row, p["group.weight"])
    stream = stream + torch.bmm(torch.cat(prototypes, dim=2), p["crystal.weight"])
    context = torch.bmm(composition, p["site.composition.context"]) + torch.bmm(row, p["site.group.context"])
    sites = lookup(p["site.element.table"], x.site_element) + lookup(p["site.symmetry.table"], x.site_symmetry)
    sites = sites + torch.matmul(x.site_features, p["site.features.mix"]) + p["site.bias"]
    sites = functional.silu(sites + to_nodes(context, x.slot_sizes))
    for r in range(a.n_rounds):
        mixed = torch.baddbmm(p[f"site{r}.bias"], sites, p[f"site{r}.mix"])
        if r > 0:
            mixed = mixed + to_nodes(torch.bmm(context, p[f"site{r}.context"]), x.slot_sizes)
        # The first round replaces the sites' vectors, later ones add to them.
        sites = functional.silu(mixed) if r == 0 else sites + functional.silu(mixed)
        context = pool(sites * x.site_fraction, x.slot_sizes)
        stream = stream + torch.bmm(context, p[f"site{r}.out"])
    return stream


_KINDS = ((0, "ordered"), (1, "anonymous"))
