"""Small runs of a family of targets: all formulas of three elements, asked for their formation energy."""

from pathlib import Path
from typing import Any

from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_kernel, make_reward
from oreflow.agent.training.loop import train
from oreflow.rewards import RewardValues

ENERGY, BALANCE = "formation_energy", "electronegativity_balance"
LOW, HIGH, WIDTH = -2.5, -0.5, 0.2
VALUES = (-2.5, -2.0, -1.5, -1.0, -0.5)
FAMILY: dict[str, Any] = {"kind": "target", "term": ENERGY, "range": [LOW, HIGH]}
BOTH = FAMILY | {"kind": ["preference", "target"]}
WORLD = {"elements": ["Li", "Mn", "O"], "n_elements": [1, 3], "n_atoms": [1, 8], "neutrality": "off"}


def tiny(
    family: dict[str, Any] | None = None, value: float = -1.0, sections: dict[str, Any] | None = None, **sampler: Any
) -> Config:
    terms: list[dict[str, Any]] = [
        {"name": BALANCE, "shape": {"kind": "verdict", "log_penalty": 2.0}},
        {"name": ENERGY, "shape": {"kind": "target", "value": value, "width": WIDTH}},
    ]
    asked = FAMILY if family is None else family
    data = {
        "schema_version": 1,
        "world": WORLD,
        "reward": {"terms": terms, "log_min": -15.0},
        "sampler": {"steps": 20, "batch": 64, "hidden": [16], "family": asked} | sampler,
        "run": {"threads": 1, "log_every_steps": 10, "checkpoint_every_steps": 10},
    }
    return validate_config(data | (sections or {}), "test")


def run(config: Config, path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.create(config, overwrite=False, plugins=[])
    train(config, folder, quiet=True)
    return folder


def rewards_of_all(config: Config) -> RewardValues:
    kernel = make_kernel(config)
    world = kernel.enumerate()
    return make_reward(config)(kernel.objects(world.states[world.can_stop]))
