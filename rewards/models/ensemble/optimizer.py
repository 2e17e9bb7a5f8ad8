"""Muon and AdamW for an ensemble whose parameters carry the member as axis 0.

Muon (K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) moves a weight matrix along
the nearest semi-orthogonal matrix to its averaged gradient; step sizes and weight decay follow Liu et al., "Muon is
scalable for LLM training", arXiv:2502.16982 (2025), so that one learning rate suits all shapes. It takes the matrices
between hidden layers; AdamW takes tables of vectors, biases, norms, the first map of the amounts, and the head.
"""

import math

import torch
from torch import Tensor

from oreflow.rewards.models.ensemble.layers import Parameters

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_MOMENTUM = 0.95
_BETAS = (0.9, 0.99)
_ROOT_MEAN_SQUARE = 0.2


def is_bias_or_norm(name: str) -> bool:
    """Whether a parameter is left out of the weight decay."""
    return "bias" in name or "norm" in name


def is_hidden_matrix(name: str) -> bool:
    """Whether a parameter maps one hidden vector to another, which is what Muon is for."""
    kind = name.split(".")[-1]
    return kind in ("gate", "out", "mix", "context", "weight") and name not in ("head.weight", "amount.weight")


def orthogonalise(matrices: Tensor) -> Tensor:
    """Approximately U Vᵀ of the singular value decomposition U S Vᵀ of each matrix; [member, row, column].

    Five Newton-Schulz iterations, with coefficients that bring all singular values of a matrix of any scale near 1
    (about 0.7 to 1.2) and not exactly to it, which is enough for a step.
    """
    wide = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if wide else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = torch.bmm(x.transpose(1, 2), x)
        x = torch.baddbmm(x, x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), beta=a)
    return x.transpose(1, 2) if wide else x


class EnsembleOptimizer:
    """One step for all members at once.

    Args:
        parameters: float32 leaves that require gradients, by name; changed in place by `step`.
        muon_rate, adam_rate: learning rates at their highest.
        muon_decay, adam_decay: decoupled weight decay, multiplied with the learning rate.
    """

    def __init__(
        self, parameters: Parameters, *, muon_rate: float, muon_decay: float, adam_rate: float, adam_decay: float
    ) -> None:
        self._muon_rate, self._muon_decay, self._adam_rate = muon_rate, muon_decay, adam_rate
        self._matrices = [t for name, t in parameters.items() if is_hidden_matrix(name)]
        self._momenta = [torch.zeros_like(t) for t in self._matrices]
        kept = [t for name, t in parameters.items() if is_bias_or_norm(name)]
        tables = [t for name, t in parameters.items() if not is_bias_or_norm(name) and not is_hidden_matrix(name)]
        groups = [{"params": tables, "weight_decay": adam_decay}, {"params": kept, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=adam_rate, betas=_BETAS)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Moves the parameters along their gradients, with both learning rates times `rate`."""
        for group in self._adam.param_groups:
            group["lr"] = self._adam_rate * rate
        self._adam.step()
        learning_rate = self._muon_rate * rate
        for matrix, momentum in zip(self._matrices, self._momenta):
            if matrix.grad is None:
                continue
            momentum.lerp_(matrix.grad, 1.0 - _MOMENTUM)
            direction = orthogonalise(matrix.grad.lerp(momentum, _MOMENTUM))
            size = _ROOT_MEAN_SQUARE * math.sqrt(max(matrix.shape[1:]))
            matrix.mul_(1.0 - learning_rate * self._muon_decay)
            matrix.add_(direction, alpha=-learning_rate * size)
