"""Fits all members of the ensemble at once.

Muon and AdamW (`rewards.models.ensemble.optimizer`), a warm-up and cosine learning rate, absolute error as the loss, an
exponential moving average of the weights, and early stopping on the validation error of that average.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from oreflow.envs.arrays import Float32s, Floats, Ints
from oreflow.rewards.models.ensemble.layers import Dropout, Parameters
from oreflow.rewards.models.ensemble.optimizer import EnsembleOptimizer

Encode = Callable[[Ints], Any]
Forward = Callable[[Parameters, Any, "Dropout | None"], tuple[torch.Tensor, torch.Tensor]]
Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class FitSettings:
    """How the ensemble is fitted.

    Attributes:
        n_epochs: passes over the training rows.
        batch_size: compositions per step.
        muon_rate: learning rate of Muon at its highest, after the warm-up.
        muon_decay: weight decay of Muon.
        adam_rate: learning rate of AdamW at its highest.
        adam_decay: weight decay of AdamW, on tables of vectors and not on biases and norms.
        dropout: share of the hidden units of each block that a step leaves out.
        warm_up: share of the fit during which the learning rate rises.
        ema_decay: per step, of the averaged weights.
        scale_loss_weight: weight of the Laplace likelihood that teaches each member its own error.
        patience: epochs without a better validation error before the fit stops.
        gradient_norm: above it a member's gradient is scaled down.
    """

    n_epochs: int = 48
    batch_size: int = 1024
    muon_rate: float = 0.02
    muon_decay: float = 0.1
    adam_rate: float = 3e-3
    adam_decay: float = 0.1
    dropout: float = 0.1
    warm_up: float = 0.05
    ema_decay: float = 0.998
    scale_loss_weight: float = 0.1
    patience: int = 20
    gradient_norm: float = 1.0

    def to_dict(self) -> dict[str, int | float]:
        """As plain numbers, for `model.json`."""
        return asdict(self)


@dataclass(frozen=True)
class Network:
    """The network that is fitted, as three functions.

    Attributes:
        initial: random parameters from a seed, every one with the member as its axis 0.
        forward: mean and log scale, [member, batch] each, from parameters, network input and dropout.
        encode: network input of given row indices, which are in descending order of their number of elements.
    """

    initial: Callable[[int], Parameters]
    forward: Forward
    encode: Encode


@dataclass(frozen=True)
class FittedRows:
    """The values that a network is fitted to.

    Attributes:
        values: float64 [row].
        mean, std: the networks predict (value - mean) / std.
        train: int64 row indices; a row that stands there twice is shown twice in a pass.
        validation: int64 row indices, in descending order of the number of elements.
    """

    values: Floats
    mean: float
    std: float
    train: Ints
    validation: Ints


def loss(mean: torch.Tensor, log_scale: torch.Tensor, target: torch.Tensor, scale_weight: float) -> torch.Tensor:
    """Absolute error, and the Laplace likelihood of the predicted scale; [member].

    The likelihood sees the error as a constant: left to itself it would give up on the rows it finds hard, and the mean
    absolute error would grow.
    """
    error = (mean - target).abs()
    likelihood = error.detach() * torch.exp(-log_scale) + log_scale
    return (error + scale_weight * likelihood).mean(dim=1)


def _limit_gradients(gradients: list[torch.Tensor], largest: float) -> None:
    """Scales each member's gradient to a norm of at most `largest`, in place."""
    squares = torch.stack([g.square().flatten(1).sum(dim=1) for g in gradients]).sum(dim=0)
    factor = (largest / (squares.sqrt() + 1e-12)).clamp(max=1.0)
    for g in gradients:
        g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))


def _validation_error(p: Parameters, forward: Forward, encode: Encode, rows: Ints, y: Float32s) -> float:
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(rows), 512):
            part = rows[start : start + 512]
            mean, _ = forward(p, encode(part), None)
            total += float(np.abs(mean.mean(dim=0).numpy() - y[part]).sum())
    return total / len(rows)


def fit_parameters(
    network: Network,
    rows: FittedRows,
    settings: FitSettings,
    *,
    seed: np.random.SeedSequence,
    max_minutes: float,
    progress: Progress,
) -> tuple[Parameters, dict[str, Any]]:
    """Fit the ensemble and return the averaged weights of the epoch with the least validation error.

    Args:
        network: what is fitted.
        rows: what it is fitted to.
        settings: how to fit.
        seed: of the initial weights and of the order of rows.
        max_minutes: when the time runs out before the epochs do, the learning rate is brought down in time for it.
        progress: called after every epoch.

    Returns:
        parameters: float32, without gradients.
        record: epochs run, best epoch, seconds, and whether the time limit shortened the fit.
    """
    train, target_std = rows.train, rows.std
    forward, encode = network.forward, network.encode
    target = ((rows.values - rows.mean) / target_std).astype(np.float32)
    seed_weights, seed_order, seed_dropout = seed.spawn(3)
    generator = torch.Generator().manual_seed(int(seed_dropout.generate_state(1, np.uint32)[0]))
    dropout = Dropout(settings.dropout, generator) if settings.dropout > 0 else None
    parameters = network.initial(int(seed_weights.generate_state(1, np.uint32)[0]))
    averaged = {name: tensor.clone() for name, tensor in parameters.items()}
    best = {name: tensor.clone() for name, tensor in parameters.items()}
    for tensor in parameters.values():
        tensor.requires_grad_(True)
    flat = list(parameters.values())
    optimizer = EnsembleOptimizer(
        parameters,
        muon_rate=settings.muon_rate,
        muon_decay=settings.muon_decay,
        adam_rate=settings.adam_rate,
        adam_decay=settings.adam_decay,
    )
    rng = np.random.default_rng(seed_order)
    batch_size = min(settings.batch_size, max(len(train) // 4, 1))
    n_steps = len(train) // batch_size
    start_time, step, best_error, best_epoch, epoch, done, shortened = time.monotonic(), 0, math.inf, 0, 0, 0.0, False
    while done < 1.0 and epoch - best_epoch <= settings.patience:
        shuffled = rng.permutation(train)
        train_error = 0.0
        for i in range(n_steps):
            # The clock counts only once it is well behind the epochs: else no two fits would be the same.
            by_time = (time.monotonic() - start_time) / (60.0 * max_minutes) / 0.95 - 0.05 / 0.95
            by_steps = step / (n_steps * settings.n_epochs)
            done, shortened = min(max(by_steps, by_time), 1.0), by_time > by_steps
            rate = min(1.0, done / settings.warm_up + 1e-2) * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))

            # Ascending row indices are descending in the number of elements: see `encode`.
            shown = np.sort(shuffled[i * batch_size : (i + 1) * batch_size])
            y = torch.from_numpy(target[shown])
            mean, log_scale = forward(parameters, encode(shown), dropout)
            for tensor in flat:
                tensor.grad = None
            loss(mean, log_scale, y, settings.scale_loss_weight).sum().backward()
            _limit_gradients([t.grad for t in flat if t.grad is not None], settings.gradient_norm)
            optimizer.step(rate)
            step += 1
            # A young average follows closely, so that it does not remember the random start.
            keep = min(settings.ema_decay, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(averaged.values()), flat, 1.0 - keep)
                train_error += float((mean - y).abs().mean())
        epoch += 1
        done = max(done, step / (n_steps * settings.n_epochs))
        error = _validation_error(averaged, forward, encode, rows.validation, target)
        if error < best_error:
            best_error, best_epoch = error, epoch
            for name, tensor in averaged.items():
                best[name].copy_(tensor)
        progress(
            {
                "stage": "fit",
                "done": epoch,
                "total": settings.n_epochs,
                "fraction_done": done,
                "train_mae": train_error / n_steps * target_std,
                "validation_mae": error * target_std,
                "best_validation_mae": best_error * target_std,
                "elapsed_s": time.monotonic() - start_time,
            }
        )
    record = {
        "threads": torch.get_num_threads(),
        "epochs_run": epoch,
        "best_epoch": best_epoch,
        "fit_seconds": round(time.monotonic() - start_time, 1),
        "shortened_by_time_limit": shortened,
    }
    return best, record
