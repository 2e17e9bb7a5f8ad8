"""The network of `rewards.models.crystal.network` for prediction only: folded weights, work in place, no copies."""

import torch
from torch import Tensor
from torch.nn import functional

from oreflow.rewards.models.composition import inference as base
from oreflow.rewards.models.crystal.network import CrystalArchitecture, CrystalInput
from oreflow.rewards.models.ensemble.layers import Parameters


def fold(p: Parameters, a: CrystalArchitecture) -> Parameters:
    """Weights for `infer`: tables of what only depends on an index, float32."""
    half = a.prototype_width
    group, group_features = p["group.weight"].split([half, p["group.weight"].shape[1] - half], dim=1)
    to_site, features_to_site = p["site.group.context"].split([half, p["group.weight"].shape[1] - half], dim=1)
    ordered, anonymous = p["crystal.weight"].split(half, dim=1)
    folded = {
        "group": torch.baddbmm(p["group.bias"], p["group.prototype"], group),
        "group.features": group_features,
        "crystal.ordered": torch.bmm(p["crystal.ordered.prototype"], ordered),
        "crystal.anonymous": torch.bmm(p["crystal.anonymous.prototype"], anonymous),
        # With the sites' bias, which then needs no addition of its own.
        "site.group": torch.baddbmm(p["site.bias"], p["group.prototype"], to_site),
        "site.group.features": features_to_site,
    }
    kept = ("site.composition.context", "site.element.table", "site.symmetry.table", "site.features.mix")
    folded |= {name: p[name] for name in kept}
    for r in range(a.n_rounds):
        folded |= {f"site{r}.{kind}": p[f"site{r}.{kind}"] for kind in ("mix", "bias", "out")}
        if r > 0:
            folded[f"site{r}.context"] = p[f"site{r}.context"]
    return base.fold(p, a.composition) | {name: tensor.contiguous() for name, tensor in folded.items()}


def infer(w: Parameters, x: CrystalInput, a: CrystalArchitecture) -> tuple[Tensor, Tensor]:
    """What `forward` returns, from folded weights; call it under `torch.inference_mode()`."""
    stream, pooled = base.infer_stream(w, x.composition, a.composition)
    if len(x.row):
        stream.index_add_(1, x.row, _crystal_stream(w, x, a, pooled.index_select(1, x.row)))
    return base.infer_read_out(w, stream, a.composition)


def _crystal_stream(w: Parameters, x: CrystalInput, a: CrystalArchitecture, composition: Tensor) -> Tensor:
    n, slots = a.composition.n_members, base.slot_ranges(x.slot_sizes)
    features = x.features.expand(n, -1, -1)
    stream = w["group"].index_select(1, x.space_group)
    stream += w["crystal.ordered"].index_select(1, x.prototypes[:, 0])
    stream += w["crystal.anonymous"].index_select(1, x.prototypes[:, 1])
    stream.baddbmm_(features, w["group.features"])
    context = w["site.group"].index_select(1, x.space_group)
    context.baddbmm_(features, w["site.group.features"]).baddbmm_(composition, w["site.composition.context"])
    sites = w["site.element.table"].index_select(1, x.site_element)
    sites += w["site.symmetry.table"].index_select(1, x.site_symmetry)
    sites.baddbmm_(x.site_features.expand(n, -1, -1), w["site.features.mix"])
    for first, end, size in slots:
        sites[:, first:end] += context[:, :size]
    functional.silu(sites, inplace=True)
    for r in range(a.n_rounds):
        mixed = torch.baddbmm(w[f"site{r}.bias"], sites, w[f"site{r}.mix"])
        if r > 0:
            context = torch.bmm(context, w[f"site{r}.context"])
            for first, end, size in slots:
                mixed[:, first:end] += context[:, :size]
        functional.silu(mixed, inplace=True)
        sites = mixed if r == 0 else sites.add_(mixed)
        context = sites[:, : slots[0][1]] * x.site_fraction[: slots[0][1]]
        for first, end, size in slots[1:]:
            context[:, :size].addcmul_(sites[:, first:end], x.site_fraction[first:end])
        stream.baddbmm_(context, w[f"site{r}.out"])
    return stream
