"""The policy network, and the one place where logits meet masks."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def masked_log_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Log-probabilities over the allowed actions, float32 [batch, action]; forbidden ones get -inf.

    Every row needs an allowed action: a row without one yields NaN, and the kernels exclude such states.
    """
    return torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=-1)


class FactoredWeights(nn.Module):
    """Weight rows, one a token or action, each the sum of a row of its own and of rows shared along its factors.

    What is learned about an element with one count carries over to its other counts and to elements of its group.

    Args:
        factors: int64 [row, factor] with ids from 0 in each column.
        n_more: rows without factors that follow (padding, or stop).
        width: length of a row.
        std: standard deviation of the sum at the start.
    """

    factors: Tensor

    def __init__(self, factors: np.ndarray, n_more: int, width: int, std: float, generator: torch.Generator) -> None:
        super().__init__()
        n_factors = factors.shape[1]
        self.own = nn.Parameter(torch.zeros(len(factors) + n_more, width))
        self.shared = nn.ParameterList(torch.zeros(int(factors[:, f].max()) + 1, width) for f in range(n_factors))
        self.register_buffer("factors", torch.from_numpy(factors.T.copy()), persistent=False)
        self.n_more = n_more
        with torch.no_grad():
            for table in (self.own, *self.shared):
                table.normal_(0.0, std / (n_factors + 1) ** 0.5, generator=generator)

    def forward(self) -> Tensor:
        """The weights [row + n_more, width]."""
        total: Tensor = self.own
        for ids, table in zip(self.factors, self.shared):
            total = total + nn.functional.pad(nn.functional.embedding(ids, table), (0, 0, 0, self.n_more))
        return total


class Policy(nn.Module):
    """Multilayer perceptron on a bag of tokens, with a forward and, if learned, a backward head.

    The first layer is a sum of embeddings, which equals a dense layer on the multi-hot encoding of the state at a cost
    that grows with the tokens present instead of all tokens there are. Both heads share one pass.

    Args:
        token_factors: int64 [n_tokens, factor], see `TransitionKernel`; token `n_tokens` pads.
        action_factors: int64 [n_actions - 1, factor]; stop comes last and has no factors.
        n_backward_actions: width of the backward head.
        hidden: widths of the hidden layers.
        learned_backward: whether P_B has a head; otherwise P_B is uniform over the parents.
        generator: source of the initial weights.
    """

    def __init__(
        self,
        token_factors: np.ndarray,
        action_factors: np.ndarray,
        n_backward_actions: int,
        hidden: Sequence[int],
        learned_backward: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.n_tokens = len(token_factors)
        self.embedding = FactoredWeights(token_factors, 1, hidden[0], 0.5, generator)
        self.embedding_bias = nn.Parameter(torch.zeros(hidden[0]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(hidden))
        # Small output weights: the untrained policy is close to uniform over the allowed actions.
        self.head = FactoredWeights(action_factors, 1, hidden[-1], 0.01, generator)
        self.head_bias = nn.Parameter(torch.zeros(len(action_factors) + 1))
        self.backward_head = nn.Linear(hidden[-1], n_backward_actions) if learned_backward else None
        self.log_z = nn.Parameter(torch.zeros((), dtype=torch.float64))
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                layer.bias.zero_()
            if self.backward_head is not None:
                self.backward_head.weight.normal_(0.0, 0.01, generator=generator)
                self.backward_head.bias.zero_()

    def weights(self) -> tuple[Tensor, Tensor]:
        """Rows of the first and last layer, summed up. A rollout does this once for all its passes."""
        return self.embedding(), self.head()

    def forward(self, tokens: Tensor, weights: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits of forward actions [batch, n_actions] and, if learned, backward actions [batch, n_backward_actions].

        Args:
            tokens: int64 [batch, token], padded with `n_tokens`.
            weights: what `weights()` gave since the parameters last changed; computed anew when None.
        """
        embedding, head = weights or self.weights()
        x = nn.functional.embedding_bag(tokens, embedding, mode="sum", padding_idx=self.n_tokens)
        x = torch.relu(x + self.embedding_bias)
        for layer in self.layers:
            x = torch.relu(layer(x))
        logits = nn.functional.linear(x, head, self.head_bias)
        return logits, None if self.backward_head is None else self.backward_head(x)
