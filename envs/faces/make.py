"""The crystal world as Gymnasium environments, single and vector; the faces themselves hold no chemistry."""

from typing import Any

from gymnasium.vector import AutoresetMode

from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.protocol import Scorer
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.faces.single import KernelEnv
from oreflow.envs.faces.vector import KernelVectorEnv


def make_wyckoff_env(
    scorer: Scorer | None = None,
    strict: bool = False,
    illegal_log_reward: float = -100.0,
    render_mode: str | None = None,
    **space: Any,
) -> KernelEnv:
    """Entry point of `oreflow/Wyckoff-v0`; further keywords are those of `WyckoffSpace`."""
    kernel = WyckoffKernel(WyckoffSpace(**space))
    return KernelEnv(kernel, scorer, strict=strict, illegal_log_reward=illegal_log_reward, render_mode=render_mode)


def make_wyckoff_vector_env(
    num_envs: int = 1,
    scorer: Scorer | None = None,
    strict: bool = False,
    illegal_log_reward: float = -100.0,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    copy: bool = True,
    **space: Any,
) -> KernelVectorEnv:
    """Entry point of `gymnasium.make_vec("oreflow/Wyckoff-v0", ...)`."""
    return KernelVectorEnv(
        WyckoffKernel(WyckoffSpace(**space)),
        scorer,
        num_envs=num_envs,
        strict=strict,
        illegal_log_reward=illegal_log_reward,
        autoreset_mode=autoreset_mode,
        copy=copy,
    )


def make_composition_env(
    scorer: Scorer | None = None,
    strict: bool = False,
    illegal_log_reward: float = -100.0,
    render_mode: str | None = None,
    **space: Any,
) -> KernelEnv:
    """Entry point of `oreflow/Composition-v0`; further keywords are those of `CompositionSpace`."""
    kernel = CompositionKernel(CompositionSpace(**space))
    return KernelEnv(kernel, scorer, strict=strict, illegal_log_reward=illegal_log_reward, render_mode=render_mode)


def make_composition_vector_env(
    num_envs: int = 1,
    scorer: Scorer | None = None,
    strict: bool = False,
    illegal_log_reward: float = -100.0,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    copy: bool = True,
    **space: Any,
) -> KernelVectorEnv:
    """Entry point of `gymnasium.make_vec("oreflow/Composition-v0", ...)`."""
    return KernelVectorEnv(
        CompositionKernel(CompositionSpace(**space)),
        scorer,
        num_envs=num_envs,
        strict=strict,
        illegal_log_reward=illegal_log_reward,
        autoreset_mode=autoreset_mode,
        copy=copy,
    )
