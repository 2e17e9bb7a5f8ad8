"""MaskablePPO of sb3-contrib on `oreflow/Composition-v0`: an agent that this project did not write, on its masks.

    pip install oreflow sb3-contrib
    python examples/maskable_ppo.py [--steps 8192] [--seed 0]

PPO maximises the mean log R and collapses onto the best objects; it does not sample in proportion to R.
It is an independent check that environment, masks and rewards can be learned from; for R/Z use `oreflow train`.
"""

import argparse

import gymnasium
import numpy as np
import torch
from sb3_contrib import MaskablePPO

from oreflow import (
    envs,  # noqa: F401 - registers oreflow/Composition-v0
    rewards,
)

WORLD = {"elements": ("Li", "Na", "Mg", "Al", "O", "S", "Cl", "F"), "n_elements": (2, 4), "n_atoms": (2, 12)}
REWARD = [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]


def make_env() -> gymnasium.Env:
    """Neutral compositions of `WORLD`; log R is minus the predicted formation energy in eV/atom.

    An action that the mask forbids raises.
    """
    env = gymnasium.make("oreflow/Composition-v0", strict=True, **WORLD)
    kernel = env.unwrapped.kernel
    reward = rewards.build(REWARD)
    env.unwrapped.scorer = lambda states: reward(kernel.objects(states)).log_reward
    return env


def mean_log_reward(env: gymnasium.Env, choose, episodes: int) -> float:
    """Mean log R of what is built by `choose`, from an observation and bool [n_actions] to an action."""
    returns = []
    for _ in range(episodes):
        observation, info = env.reset()
        terminated = False
        while not terminated:
            action = choose(observation, info["action_mask"].astype(bool))
            observation, log_reward, terminated, _, info = env.step(action)
        returns.append(log_reward)
    return float(np.mean(returns))


def run(steps: int, seed: int = 0, episodes: int = 300) -> dict[str, float]:
    """Trains for at least `steps` actions; mean log R of random play, and of the agent before and after."""
    torch.set_num_threads(1)
    env, rng = make_env(), np.random.default_rng(seed)
    model = MaskablePPO(
        "MlpPolicy", env, n_steps=512, batch_size=128, learning_rate=1e-3, gamma=1.0, seed=seed, device="cpu"
    )

    def agent(observation: np.ndarray, mask: np.ndarray) -> int:
        return int(model.predict(observation, action_masks=mask)[0])

    figures = {"random": mean_log_reward(env, lambda _, mask: rng.choice(np.flatnonzero(mask)), episodes)}
    figures["before"] = mean_log_reward(env, agent, episodes)
    model.learn(steps)
    figures["after"] = mean_log_reward(env, agent, episodes)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8192, help="actions to train for")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name, value in run(options.steps, options.seed).items():
        print(f"mean log R {name:>6}: {value:.3f}")


if __name__ == "__main__":
    main()
