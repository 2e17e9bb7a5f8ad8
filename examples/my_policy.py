"""A policy and an objective of your own: a small transformer over the bag of tokens, and a robust balance loss.

oreflow train examples/my_policy.yaml --plugin examples/my_policy.py --out runs/my_policy
oreflow exact runs/my_policy --plugin examples/my_policy.py
"""

import torch
from torch import Tensor, nn

from oreflow.agent.objectives.plugin import ObjectiveBatch
from oreflow.agent.policy.plugin import PolicySizes
from oreflow.agent.registry import register_objective, register_policy


@register_policy("transformer")
class Transformer(nn.Module):
    """Attend among the tokens of a state, without positions, since a bag has no order.

    Args:
        sizes: what the world has; `sizes.n_tokens` is the number that pads.
        width: length of each token's vector, and of what comes out.
        heads: attention heads; they divide `width`.
        layers: blocks of attention and feed-forward.
    """

    def __init__(self, sizes: PolicySizes, width: int = 64, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.width = width
        self.n_tokens = sizes.n_tokens
        self.embedding = nn.Embedding(sizes.n_tokens + 2, width)  # the last two: padding, and one that sums up
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        with torch.no_grad():
            for parameter in self.parameters():  # all from the run's own generator, so that it repeats
                if parameter.ndim > 1:
                    parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=sizes.generator)

    def forward(self, tokens: Tensor, condition: Tensor | None) -> Tensor:
        """Tokens int64 [batch, token] to float32 [batch, width]: what the summing token has gathered."""
        if condition is not None:
            raise ValueError("this transformer learns one reward; leave sampler.family out")
        first = torch.full((len(tokens), 1), self.n_tokens + 1)
        tokens = torch.cat([first, tokens], dim=1)
        x = self.encoder(self.embedding(tokens), src_key_padding_mask=tokens == self.n_tokens)
        out: Tensor = self.norm(x[:, 0])
        return out


@register_objective("robust_balance")
def robust_balance(batch: ObjectiveBatch, delta: float = 1.0) -> Tensor:
    """Trajectory balance with Huber's loss: rare, badly modelled objects pull no harder than `delta`."""
    residual = batch.log_z + batch.total(batch.log_pf) - batch.total(batch.log_pb) - batch.log_reward
    return nn.functional.huber_loss(residual, torch.zeros_like(residual), delta=delta)
