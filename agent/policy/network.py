"""The policy network, and the one place where logits meet masks."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oreflow.agent.policy.factor_sum import factor_sum
from oreflow.agent.policy.strata import Strata
from oreflow.agent.policy.token_bag import sum_of_rows
from oreflow.envs.arrays import Ints

_CONDITION_WIDTH = 64


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

    def __init__(self, factors: Ints, n_more: int, width: int, std: float, generator: torch.Generator) -> None:
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
        return factor_sum(self.factors, self.own, list(self.shared))


class Policy(nn.Module):
    """Multilayer perceptron on a bag of tokens, with a head for forward actions and, where asked for, further heads.

    The first layer is a sum of embeddings, which equals a dense layer on the multi-hot encoding of the state at a cost
    that grows with the tokens present instead of all tokens there are. All heads share one pass.

    Args:
        token_factors: int64 [n_tokens, factor], see `TransitionKernel`; token `n_tokens` pads.
        action_factors: int64 [n_actions - 1, factor]; stop comes last and has no factors.
        n_backward_actions: width of the backward head.
        hidden: widths of the hidden layers.
        learned_backward: whether P_B has a head; otherwise P_B is uniform over the parents.
        generator: source of the initial weights.
        state_flow: whether there is a head for log F(s), the state flow, which is also the soft value V(s).
        n_conditions: length of the vector that tells which of a family of rewards is meant; 0 for a single reward.
        strata: first actions of prescribed shares; None where the first action is learned like any other.
        geometry: whether there is a head for log Z_D, the normaliser of the geometries of a decoration.
        dropout: share of the hidden units that are left out, and the others scaled up, while `noise` is set.

    Attributes:
        noise: source of the units that drop out where gradients are taken; None: none do.
    """

    noise: torch.Generator | None = None

    def __init__(
        self,
        token_factors: Ints,
        action_factors: Ints,
        n_backward_actions: int,
        hidden: Sequence[int],
        learned_backward: bool,
        generator: torch.Generator,
        *,
        state_flow: bool = False,
        n_conditions: int = 0,
        strata: Strata | None = None,
        dropout: float = 0.0,
        geometry: bool = False,
    ) -> None:
        super().__init__()
        self.strata, self.dropout = strata, dropout
        self.n_tokens = len(token_factors)
        self.n_conditions = n_conditions
        self.embedding = FactoredWeights(token_factors, 1, hidden[0], 0.5, generator)
        self.embedding_bias = nn.Parameter(torch.zeros(hidden[0]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(hidden))
        # Small output weights: the untrained policy is close to uniform over the allowed actions.
        self.head = FactoredWeights(action_factors, 1, hidden[-1], 0.01, generator)
        self.head_bias = nn.Parameter(torch.zeros(len(action_factors) + 1))
        self.backward_head = nn.Linear(hidden[-1], n_backward_actions) if learned_backward else None
        self.flow_head = nn.Linear(hidden[-1], 1) if state_flow else None
        self.condition_layers = _perceptron(n_conditions, hidden[0], generator) if n_conditions else None
        self.condition_scale = _perceptron(n_conditions, hidden[-1], generator) if n_conditions else None
        self.log_z_layers = _perceptron(n_conditions, 1, generator) if n_conditions else None
        self.log_z = nn.Parameter(torch.zeros((), dtype=torch.float64))
        per_stratum = None if strata is None else torch.zeros(len(strata), dtype=torch.float64)
        self.log_z_of_strata = None if per_stratum is None else nn.Parameter(per_stratum)
        if strata is not None and strata.power is not None:  # one memory: what a checkpoint restores, the strata see
            self.register_buffer("log_share", torch.from_numpy(strata.log_share))
        self.geometry_head = nn.Linear(hidden[-1], 1) if geometry else None
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Linear)
                _kaiming(layer, generator)
            for head in (self.backward_head, self.flow_head, self.geometry_head):
                if head is not None:
                    head.weight.normal_(0.0, 0.01, generator=generator)
                    head.bias.zero_()

    def weights(self) -> tuple[Tensor, Tensor]:
        """Rows of the first and last layer, summed up. A rollout does this once for all its passes."""
        return self.embedding(), self.head()

    def trunk(
        self, tokens: Tensor, weights: tuple[Tensor, Tensor] | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """The last hidden layer, float32 [batch, hidden], which all heads read.

        Args:
            tokens: int64 [batch, token], padded with `n_tokens`.
            weights: what `weights()` gave since the parameters last changed; computed anew when None.
            condition: float32 [batch, n_conditions] where there are conditions.
        """
        embedding = self.embedding() if weights is None else weights[0]
        x = sum_of_rows(embedding, tokens) + self.embedding_bias
        if self.condition_layers is not None:
            x = x + self.condition_layers(condition)
        x = self._drop(torch.relu(x))
        for layer in self.layers:
            x = self._drop(torch.relu(layer(x)))
        if self.condition_scale is not None:  # at one state log-probabilities are about linear in beta and in weights
            x = x * (1 + self.condition_scale(condition))
        return x

    def _drop(self, x: Tensor) -> Tensor:
        if self.noise is None or self.dropout == 0 or not torch.is_grad_enabled():
            return x
        return x * torch.empty_like(x).bernoulli_(1 - self.dropout, generator=self.noise) / (1 - self.dropout)

    def forward(
        self, tokens: Tensor, weights: tuple[Tensor, Tensor] | None = None, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits of forward actions [batch, n_actions] and, if learned, backward actions [batch, n_backward_actions].

        Arguments as for `trunk`.
        """
        x = self.trunk(tokens, weights, condition)
        logits = nn.functional.linear(x, self.head() if weights is None else weights[1], self.head_bias)
        return logits, None if self.backward_head is None else self.backward_head(x)

    def log_flow(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Compute log F(s), float64 [batch], from the last hidden layer.

        It is measured from `log_partition`, which learns faster.
        """
        assert self.flow_head is not None
        return self.flow_head(x).squeeze(-1).double() + self.log_partition(condition)

    def log_partition(self, condition: Tensor | None = None) -> Tensor:
        """The learned log Z: a scalar, or float64 [batch] for conditions [batch, n_conditions]."""
        if self.log_z_layers is None or condition is None:
            return self.log_z
        return self.log_z + self.log_z_layers(condition).squeeze(-1).double()


def _perceptron(n_in: int, n_out: int, generator: torch.Generator) -> nn.Sequential:
    """Two layers that start as zero, so that conditions begin without effect."""
    first, last = nn.Linear(n_in, _CONDITION_WIDTH), nn.Linear(_CONDITION_WIDTH, n_out)
    with torch.no_grad():
        _kaiming(first, generator)
        last.weight.zero_()
        last.bias.zero_()
    return nn.Sequential(first, nn.ReLU(), last)


def _kaiming(layer: nn.Linear, generator: torch.Generator) -> None:
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
    layer.bias.zero_()


def learned_log_z_of_strata(policy: Policy, root_tokens: Tensor) -> Tensor:
    """What a policy has learned log Z of each stratum to be, float64 [stratum]: log F of its root where it has flows.

    Args:
        root_tokens: int64 [stratum, token], the encoded states after the first actions.
    """
    assert policy.log_z_of_strata is not None
    with torch.no_grad():
        if policy.flow_head is None:
            return policy.log_z_of_strata.detach().clone()
        return policy.log_z_of_strata + policy.log_flow(policy.trunk(root_tokens))


def learned_log_z(policy: Policy, initial_tokens: Tensor, condition: Tensor | None = None) -> float:
    """What a policy has learned log Z to be: log F of the initial state where it has state flows.

    Args:
        initial_tokens: int64 [1, token], the encoded initial state.
        condition: float32 [n_conditions] for a conditional policy.
    """
    conditions = None if condition is None else condition[None]
    if policy.strata is not None:
        return math.nan  # each stratum has its own
    with torch.no_grad():
        if policy.flow_head is not None:
            return float(policy.log_flow(policy.trunk(initial_tokens, condition=conditions), conditions)[0])
        return float(policy.log_partition(conditions).squeeze())
