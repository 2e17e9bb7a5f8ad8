"""A policy and an objective of your own: a small transformer over the bag of tokens, and a robust balance loss.

oreflow train examples/my_policy.yaml --plugin examples/my_policy.py --out runs/my_policy
oreflow exact runs/my_policy --plugin examples/my_policy.py
"""

import torch
from torch import Tensor, nn

from oreflow.agent.objectives.plugin import ObjectiveBatch
from oreflow.agent.policy.network import FactoredWeights
from oreflow.agent.policy.plugin import PolicySizes
from oreflow.agent.registry import register_objective, register_policy


@register_policy("transformer")
class Transformer(nn.Module):
    """Attend among the tokens of a state, without positions, since a bag has no order.

    Args:
        sizes: what the world has; `sizes.n_tokens` is the number that pads.
        width: length of each token's vector.
        heads: attention heads; they divide `width`.
        layers: blocks of attention and feed-forward.
        out: length of what comes out.
    """

    def __init__(self, sizes: PolicySizes, width: int = 64, heads: int = 4, layers: int = 2, out: int = 64) -> None:
        super().__init__()
        self.width = out
        self.n_tokens = sizes.n_tokens
        # Tokens share what they have in common; two rows more are padding, and a token that sums up.
        self.embedding = FactoredWeights(sizes.token_factors, 2, width, 0.5, sizes.generator)
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, out)
        with torch.no_grad():
            for name, parameter in self.named_parameters():  # all from the run's own generator, so that it repeats
                if parameter.ndim > 1 and not name.startswith("embedding"):
                    parameter.normal_(0.0, parameter.shape[1] ** -0.5, generator=sizes.generator)

    def forward(self, tokens: Tensor, condition: Tensor | None) -> Tensor:
        """Tokens int64 [batch, token] to float32 [batch, out]: what the summing token has gathered."""
        if condition is not None:
            raise ValueError("this transformer learns one reward; leave sampler.family out")
        fullest = int((tokens != self.n_tokens).sum(dim=1).max())
        tokens = tokens.sort(dim=1).values[:, : max(fullest, 1)]  # padding has the largest number
        first = torch.full((len(tokens), 1), self.n_tokens + 1)
        tokens = torch.cat([first, tokens], dim=1)
        x = nn.functional.embedding(tokens, self.embedding())
        x = self.encoder(x, src_key_padding_mask=tokens == self.n_tokens)
        out: Tensor = torch.relu(self.last(self.norm(x[:, 0])))
        return out


@register_objective("robust_balance")
def robust_balance(batch: ObjectiveBatch, delta: float = 1.0) -> Tensor:
    """Trajectory balance with Huber's loss: rare, badly modelled objects pull no harder than `delta`."""
    residual = batch.log_z + batch.total(batch.log_pf) - batch.total(batch.log_pb) - batch.log_reward
    return nn.functional.huber_loss(residual, torch.zeros_like(residual), delta=delta)
