"""Design inorganic materials: sample compositions and crystals in proportion to a reward.

`oreflow.envs` says what may be built, `oreflow.rewards` what is worth building, `oreflow.agent` how to search. The
names below are the public interface. Each is imported when it is first used, so `import oreflow` is quick.

    import oreflow

    run = oreflow.train("config.yaml", "runs/mine")
    candidates = oreflow.sample(run, 100, unique=True)
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oreflow.agent.api import Run, exact, sample, score, train
    from oreflow.agent.config.run import Config, load_config
    from oreflow.agent.objectives.plugin import check_objective
    from oreflow.agent.policy.plugin import check_policy
    from oreflow.agent.registry import register_objective, register_policy
    from oreflow.envs.alloy.kernel import AlloyKernel
    from oreflow.envs.alloy.space import AlloySpace
    from oreflow.envs.composition.kernel import CompositionKernel
    from oreflow.envs.composition.space import CompositionSpace
    from oreflow.envs.contract.check import check_kernel
    from oreflow.envs.contract.protocol import TransitionKernel
    from oreflow.envs.crystal.kernel import WyckoffKernel
    from oreflow.envs.crystal.space import WyckoffSpace
    from oreflow.envs.objects.compositions import Compositions
    from oreflow.envs.objects.crystals import Crystals
    from oreflow.envs.registry import World, register_world
    from oreflow.rewards.check import check_reward_term
    from oreflow.rewards.composite import Reward
    from oreflow.rewards.composite import build as build_reward
    from oreflow.rewards.contract.protocol import RewardTerm, TermValues
    from oreflow.rewards.contract.term import Term
    from oreflow.rewards.potential.listing import register_potential
    from oreflow.rewards.registry import register as register_reward

# The threads of torch and numba would otherwise spin while they wait for one another. On a machine that has other work
# this costs a factor of twenty and more; OpenMP reads the setting when the first library that uses it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Where colorama is installed numba would otherwise write an escape sequence to the terminal at every exit.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")

# Name: where it is defined, "module:attribute".
_PUBLIC = {
    "AlloyKernel": "oreflow.envs.alloy.kernel:AlloyKernel",
    "AlloySpace": "oreflow.envs.alloy.space:AlloySpace",
    "CompositionKernel": "oreflow.envs.composition.kernel:CompositionKernel",
    "CompositionSpace": "oreflow.envs.composition.space:CompositionSpace",
    "Compositions": "oreflow.envs.objects.compositions:Compositions",
    "Config": "oreflow.agent.config.run:Config",
    "Crystals": "oreflow.envs.objects.crystals:Crystals",
    "Reward": "oreflow.rewards.composite:Reward",
    "RewardTerm": "oreflow.rewards.contract.protocol:RewardTerm",
    "Run": "oreflow.agent.api:Run",
    "Term": "oreflow.rewards.contract.term:Term",
    "TermValues": "oreflow.rewards.contract.protocol:TermValues",
    "TransitionKernel": "oreflow.envs.contract.protocol:TransitionKernel",
    "World": "oreflow.envs.registry:World",
    "WyckoffKernel": "oreflow.envs.crystal.kernel:WyckoffKernel",
    "WyckoffSpace": "oreflow.envs.crystal.space:WyckoffSpace",
    "build_reward": "oreflow.rewards.composite:build",
    "check_kernel": "oreflow.envs.contract.check:check_kernel",
    "check_objective": "oreflow.agent.objectives.plugin:check_objective",
    "check_policy": "oreflow.agent.policy.plugin:check_policy",
    "check_reward_term": "oreflow.rewards.check:check_reward_term",
    "exact": "oreflow.agent.api:exact",
    "load_config": "oreflow.agent.config.run:load_config",
    "register_objective": "oreflow.agent.registry:register_objective",
    "register_policy": "oreflow.agent.registry:register_policy",
    "register_potential": "oreflow.rewards.potential.listing:register_potential",
    "register_reward": "oreflow.rewards.registry:register",
    "register_world": "oreflow.envs.registry:register_world",
    "sample": "oreflow.agent.api:sample",
    "score": "oreflow.agent.api:score",
    "train": "oreflow.agent.api:train",
}
_HOUSES = ("agent", "envs", "rewards")

# Spelled out, since type checkers and editors read it without running it.
__all__ = [
    "AlloyKernel",
    "AlloySpace",
    "CompositionKernel",
    "CompositionSpace",
    "Compositions",
    "Config",
    "Crystals",
    "Reward",
    "RewardTerm",
    "Run",
    "Term",
    "TermValues",
    "TransitionKernel",
    "World",
    "WyckoffKernel",
    "WyckoffSpace",
    "agent",
    "build_reward",
    "check_kernel",
    "check_objective",
    "check_policy",
    "check_reward_term",
    "envs",
    "exact",
    "load_config",
    "register_objective",
    "register_policy",
    "register_potential",
    "register_reward",
    "register_world",
    "rewards",
    "sample",
    "score",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOUSES:
        return importlib.import_module(f"oreflow.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'oreflow' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
