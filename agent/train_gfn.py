"""GFlowNet training, read top to bottom: roll out, score, balance, step, log, checkpoint."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.build import make_kernel, make_policy, make_reward, set_threads
from agent.checkpoint import save_checkpoint
from agent.config import Config
from agent.errors import TrainingError
from agent.files import to_json
from agent.losses import trajectory_balance
from agent.policy import Policy
from agent.progress import Progress
from agent.reward_failures import RewardFailures
from agent.rollout import forward_rollout
from agent.run_dir import RunFolder
from agent.seeds import stream
from agent.signals import StopFlag
from envs.composition_kernel import CompositionKernel
from envs.compositions import Compositions
from envs.errors import OreflowError
from rewards import Reward
from rewards.charge_balance import ChargeBalance
from rewards.errors import RewardBudgetError

_MAX_SKIPPED_IN_A_ROW = 20
_INVALID_GRACE = 1000  # objects seen before the share of invalid rewards is held against the budget


@dataclass
class TrainingResult:
    """How a training ended.

    Attributes:
        steps: gradient steps done.
        stopped_by: name of the signal that stopped it, None when it ran to its end.
        metrics: the last line of metrics.jsonl.
        checkpoint: the last checkpoint.
    """

    steps: int
    stopped_by: str | None
    metrics: dict[str, Any]
    checkpoint: Path


def make_optimizer(policy: Policy, config: Config) -> torch.optim.Adam:
    """Adam with a separate, larger learning rate for log Z."""
    network = [parameter for name, parameter in policy.named_parameters() if name != "log_z"]
    return torch.optim.Adam(
        [
            {"params": network, "lr": config.sampler.learning_rate},
            {"params": [policy.log_z], "lr": config.sampler.log_z_learning_rate},
        ]
    )


def schedule(config: Config, step: int) -> tuple[float, float]:
    """Share of the starting learning rates, and exploration epsilon, at a step."""
    done = step / max(config.sampler.steps - 1, 1)
    floor = config.sampler.final_learning_rate_share
    share = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
    return share, config.sampler.epsilon_start + done * (config.sampler.epsilon_end - config.sampler.epsilon_start)


def train(
    config: Config,
    folder: RunFolder,
    *,
    kernel: CompositionKernel | None = None,
    reward: Reward | None = None,
    quiet: bool = False,
) -> TrainingResult:
    """Trains from scratch into an existing run folder.

    Args:
        kernel, reward: those of the config, where they have been built already.

    Raises:
        RewardBudgetError: when the share of objects without a valid reward exceeds `reward.invalid_budget`.
        TrainingError: when losses stay non-finite.
        OreflowError: as a reward raises it. A checkpoint of the last good state is written first in all cases.
    """
    set_threads(config.run.threads)
    kernel, reward = kernel or make_kernel(config), reward or make_reward(config)
    policy = make_policy(config, kernel)
    optimizer = make_optimizer(policy, config)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    rng = stream(config.seed, "training")
    window = _Window(config)
    failures = RewardFailures(folder.reward_failures_path)
    n_objects = n_invalid = n_bounded = n_skipped = skipped_in_a_row = 0
    log_z_started = over_budget = False
    metrics: dict[str, Any] = {}
    first_reasons: dict[str, int] = {}

    def checkpoint(step: int) -> Path:
        state = {
            "world": config.world.model_dump(mode="json"),
            "n_objects": n_objects,
            "n_invalid": n_invalid,
            "n_skipped": n_skipped,
        }
        return save_checkpoint(
            folder.checkpoints, step, policy, optimizer, rng, state, keep=config.run.keep_checkpoints
        )

    step = 0
    with (
        StopFlag() as stop,
        Progress("train", config.sampler.steps, quiet) as progress,
        folder.metrics_path.open("a", encoding="utf-8") as log,
    ):
        while step < config.sampler.steps:
            share, epsilon = schedule(config, step)
            for group, rate in zip(optimizer.param_groups, base_rates):
                group["lr"] = share * rate

            # Roll out and score
            trajectories = forward_rollout(kernel, policy, config.sampler.batch, rng, epsilon=epsilon)
            objects = kernel.objects(trajectories.terminal)
            try:
                result = reward(objects)
            except (OreflowError, KeyboardInterrupt):
                checkpoint(step)
                raise
            failures.record(objects, result)
            n_objects += len(objects)
            n_invalid += int((~result.valid).sum())
            n_bounded += int(result.bounded.sum())
            for reason in result.reasons().values():
                first_reasons[reason] = first_reasons.get(reason, 0) + 1
            if n_objects >= _INVALID_GRACE and n_invalid > config.reward.invalid_budget * n_objects:
                over_budget = True
                break

            # Trajectory balance on the valid members
            valid = torch.from_numpy(result.valid)
            log_reward = torch.from_numpy(result.log_reward)[valid]
            log_pf = trajectories.total(trajectories.log_pf)[valid]
            log_pb = trajectories.total(trajectories.log_pb)[valid]
            if not log_z_started and len(log_reward):
                with torch.no_grad():  # the value that minimises the first loss saves log Z a long way
                    policy.log_z.copy_((log_reward + log_pb - log_pf).mean())
                log_z_started = True
            loss = trajectory_balance(policy.log_z, log_pf, log_pb, log_reward)

            # Step, or skip a poisoned batch
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], config.sampler.gradient_clip)
            if torch.isfinite(loss) and torch.isfinite(norm):
                optimizer.step()
                skipped_in_a_row = 0
            else:
                n_skipped += 1
                skipped_in_a_row += 1
                if skipped_in_a_row >= _MAX_SKIPPED_IN_A_ROW:
                    if n_invalid > config.reward.invalid_budget * n_objects:
                        over_budget = True  # nothing is wrong with the losses
                        break
                    checkpoint(step)
                    raise TrainingError(
                        f"{skipped_in_a_row} losses in a row were not finite; lower sampler.learning_rate or log_max"
                    )
            step += 1

            # Log and checkpoint
            window.add(objects, float(loss.detach()), result.log_reward[result.valid])
            if step % config.run.log_every_steps == 0 or step == config.sampler.steps or stop.raised:
                metrics = {"step": step, **window.close(), "log_z": float(policy.log_z.detach())}
                metrics |= {"epsilon": epsilon, "n_objects": n_objects, "n_invalid": n_invalid, "n_skipped": n_skipped}
                metrics |= {"n_log_reward_bounded": n_bounded, "nondeterministic_rewards": reward.nondeterministic}
                log.write(to_json(metrics, indent=None) + "\n")
                log.flush()
                progress.update(
                    step,
                    loss=metrics["loss"],
                    log_Z=metrics["log_z"],
                    mean_log_R=metrics["mean_log_reward"],
                    neutral=metrics["share_neutral"],
                    unique=metrics["share_unique"],
                    traj_per_s=metrics["trajectories_per_second"],
                )
            if step % config.run.checkpoint_every_steps == 0 and step < config.sampler.steps and not stop.raised:
                checkpoint(step)
            if stop.raised:
                break
        last = checkpoint(step)
    if over_budget or n_invalid > config.reward.invalid_budget * n_objects:
        common = max(first_reasons, key=lambda reason: first_reasons[reason])
        raise RewardBudgetError(
            f"{n_invalid} of {n_objects} objects have no valid reward, more than reward.invalid_budget = "
            f"{config.reward.invalid_budget:g} allows; most often: {common}. Mend the reward, narrow the world, or "
            "raise the budget" + (f"; tracebacks are in {failures.path}" if failures.n_saved else "")
        )
    return TrainingResult(step, stop.raised, metrics, last)


class _Window:
    """Figures over the steps since the last line of the log."""

    def __init__(self, config: Config) -> None:
        self._neutral = ChargeBalance(config.world.oxidation_table, config.world.mixed_valence)
        self._clear()

    def _clear(self) -> None:
        self._objects: list[Compositions] = []
        self._losses: list[float] = []
        self._log_rewards: list[np.ndarray] = []
        self._started = time.monotonic()

    def add(self, objects: Compositions, loss: float, log_rewards: np.ndarray) -> None:
        self._objects.append(objects)
        self._losses.append(loss)
        self._log_rewards.append(log_rewards)

    def close(self) -> dict[str, float]:
        """Mean loss and log R, share of neutral and of distinct objects, trajectories a second; starts a new window."""
        objects = Compositions.concatenate(self._objects)
        residual = self._neutral(objects)
        log_rewards = np.concatenate(self._log_rewards)
        seconds = max(time.monotonic() - self._started, 1e-9)
        figures = {
            "loss": float(np.mean(self._losses)),
            "mean_log_reward": float(log_rewards.mean()) if len(log_rewards) else float("nan"),
            "share_neutral": float(np.mean(residual.valid & (residual.values == 0))),
            "share_unique": len(np.unique(objects.keys(), axis=0)) / len(objects),
            "trajectories_per_second": len(objects) / seconds,
        }
        self._clear()
        return figures
