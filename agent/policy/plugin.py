"""Policies of your own: a trunk that reads a bag of tokens, under the heads that oreflow puts on it.

A policy plug-in is a factory `make(sizes: PolicySizes, **policy_params) -> torch.nn.Module`. The module has an
attribute `width` (int) and maps

    tokens: int64 [batch, token], padded with `sizes.n_tokens`; their order carries no meaning
    condition: float32 [batch, n_conditions], or None where `sizes.n_conditions` is 0

to the last hidden layer, float32 [batch, width]. The heads for actions, backward actions, log F and log Z follow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oreflow.agent.policy.network import Policy
from oreflow.envs.arrays import Ints
from oreflow.rewards.errors import PluginError


@dataclass(frozen=True)
class PolicySizes:
    """What a policy is built from.

    Attributes:
        token_factors: int64 [n_tokens, factor], ids that tokens share.
        n_tokens: number of tokens; the number itself stands for padding.
        n_conditions: length of the condition; 0 for a single reward.
        generator: source of the initial weights; draw all of them from it, so that runs repeat.
    """

    token_factors: Ints
    n_tokens: int
    n_conditions: int
    generator: torch.Generator


class PluginPolicy(Policy):
    """Put the heads of `Policy` on a trunk of another kind."""

    def __init__(
        self, name: str, make: Callable[..., Any], params: dict[str, Any], *sizes: Any, **options: Any
    ) -> None:
        token_factors, action_factors, n_backward_actions, learned_backward, generator = sizes
        n_conditions = options.get("n_conditions", 0)
        described = PolicySizes(token_factors, len(token_factors), n_conditions, generator)
        try:
            own = make(described, **params)
        except Exception as error:
            raise PluginError(f"policy {name!r} cannot be built: {type(error).__name__}: {error}") from error
        width = getattr(own, "width", None)
        if not isinstance(own, nn.Module) or not isinstance(width, int) or width < 1:
            raise PluginError(
                f"policy {name!r}: expected a torch.nn.Module with an attribute width (int, at least 1), got "
                f"{type(own).__name__} with width {width!r}; set self.width to the length of what forward gives"
            )
        super().__init__(
            token_factors, action_factors, n_backward_actions, [width], learned_backward, generator, **options
        )
        self.name = name
        self.own = own
        del self.embedding, self.embedding_bias, self.condition_layers, self.condition_scale  # the trunk has its own

    def weights(self) -> tuple[Tensor, Tensor]:
        """Rows of the last layer; the first entry is not used."""
        head = self.head()
        return head, head

    def trunk(
        self, tokens: Tensor, weights: tuple[Tensor, Tensor] | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """The plug-in's last hidden layer, float32 [batch, width].

        Raises:
            PluginError: when it has another shape or dtype.
        """
        x: Tensor = self.own(tokens, condition)
        expected = (len(tokens), self.own.width)
        if not isinstance(x, Tensor) or tuple(x.shape) != expected or x.dtype != torch.float32:
            got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise PluginError(
                f"policy {self.name!r}: expected forward to give float32 {expected}, one row a state and self.width "
                f"columns, got {got}; change its last layer, or self.width"
            )
        return x


def check_policy(policy: Policy, tokens: Tensor, condition: Tensor | None = None) -> None:
    """Check a policy on encoded states: width, finite values, batching, padding, gradient.

    Args:
        tokens: int64 [batch, token], at least two states.
        condition: float32 [batch, n_conditions].

    Raises:
        PluginError: with the clause that does not hold, and what usually causes it.
    """
    name = getattr(policy, "name", "mlp")
    x = policy.trunk(tokens, condition=condition)
    if not torch.isfinite(x).all():
        raise PluginError(f"policy {name!r}: forward gives values that are not finite; an empty bag is all padding")
    order = torch.arange(len(tokens) - 1, -1, -1)
    flipped = policy.trunk(tokens[order], condition=None if condition is None else condition[order])
    if not torch.allclose(flipped, x[order], atol=1e-4, rtol=1e-3):
        raise PluginError(
            f"policy {name!r}: a state's row depends on the batch's order; leave out batch norm, dropout and noise"
        )
    alone = policy.trunk(tokens[:1], condition=None if condition is None else condition[:1])
    if not torch.allclose(alone, x[:1], atol=1e-4, rtol=1e-3):
        raise PluginError(f"policy {name!r}: a state's row depends on the rest of the batch; leave out batch norm")
    if not x.requires_grad:
        raise PluginError(f"policy {name!r}: forward is not differentiable; leave out detach, no_grad and numpy")
