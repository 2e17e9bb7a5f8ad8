"""The policy network, and the one place where logits meet masks."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def masked_log_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log-probabilities over the allowed actions, float32 [batch, action]; forbidden ones get -inf.

    Every row needs an allowed action: a row without one yields NaN, and the kernels exclude such states.
    """
    return torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=-1)


class Policy(nn.Module):
    """Multilayer perceptron on a bag of tokens, with a forward and, if learned, a backward head.

    The first layer is a sum of embeddings, which equals a dense layer on the multi-hot encoding of the state at a cost
    that grows with the tokens present instead of all tokens there are. Both heads share one pass.

    Args:
        n_tokens: size of the vocabulary; index `n_tokens` pads.
        n_actions, n_backward_actions: widths of the heads.
        hidden: widths of the hidden layers.
        learned_backward: whether P_B has a head; otherwise P_B is uniform over the parents.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        n_tokens: int,
        n_actions: int,
        n_backward_actions: int,
        hidden: Sequence[int],
        learned_backward: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(n_tokens + 1, hidden[0], mode="sum", padding_idx=n_tokens)
        self.embedding_bias = nn.Parameter(torch.zeros(hidden[0]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(hidden))
        self.forward_head = nn.Linear(hidden[-1], n_actions)
        self.backward_head = nn.Linear(hidden[-1], n_backward_actions) if learned_backward else None
        self.log_z = nn.Parameter(torch.zeros((), dtype=torch.float64))
        with torch.no_grad():
            self.embedding.weight.normal_(0.0, 0.5, generator=generator)
            self.embedding.weight[n_tokens] = 0.0
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                layer.bias.zero_()
            # Small output weights: the untrained policy is close to uniform over the allowed actions.
            for head in (self.forward_head, self.backward_head):
                if head is not None:
                    head.weight.normal_(0.0, 0.01, generator=generator)
                    head.bias.zero_()

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of forward actions [batch, n_actions] and, if learned, backward actions [batch, n_backward_actions].

        Args:
            tokens: int64 [batch, token], padded with `n_tokens`.
        """
        x = torch.relu(self.embedding(tokens) + self.embedding_bias)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.forward_head(x), None if self.backward_head is None else self.backward_head(x)
