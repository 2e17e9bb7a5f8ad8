"""Masks a second in large worlds, on states of random rollouts. Run: python benchmarks/envs/bench_composition_masks.py

Compilation is excluded; each figure is the median of seven timings over the same states.
"""

import statistics
import time

import numpy as np

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.number_first import NumberFirstKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.protocol import TransitionKernel

ELEMENTS = tuple(symbols()[1:90])  # 89 elements, as in the public peer's largest composition world
WORLDS = {
    "89 elements, up to 5, counts to 16, no charge rule": {"neutrality": "off"},
    "the same, hard neutrality (pymatgen_common)": {"neutrality": "hard"},
    "the same, hard neutrality (smact_icsd24)": {"neutrality": "hard", "oxidation_table": "smact_icsd24"},
    "the same, hard neutrality, mixed valence": {"neutrality": "hard", "mixed_valence": True},
}


def seconds_a_mask(kernel: TransitionKernel, states: np.ndarray) -> float:
    """Median of seven timings of all masks at once, over the number of states."""
    timings = []
    for _ in range(7):
        started = time.perf_counter()
        kernel.forward_allowed(states)
        timings.append(time.perf_counter() - started)
    return statistics.median(timings) / len(states)


def visited_states(kernel: TransitionKernel, n: int, rng: np.random.Generator) -> np.ndarray:
    """Non-terminal states of `n` random rollouts."""
    states, parts = kernel.initial(n), []
    while len(states):
        parts.append(states)
        allowed = kernel.forward_allowed(states)
        states = kernel.step(states, (rng.random(allowed.shape) * allowed).argmax(axis=1))
        states = states[~kernel.is_terminal(states)]
    return np.concatenate(parts)


def main() -> None:
    for label, changes in WORLDS.items():
        space = CompositionSpace(elements=ELEMENTS, n_elements=(1, 5), n_atoms=(1, 80), count=(1, 16), **changes)
        CompositionKernel(space)
        started = time.perf_counter()
        kernel = CompositionKernel(space)
        building = time.perf_counter() - started
        states = visited_states(kernel, 2000, np.random.default_rng(0))
        seconds = seconds_a_mask(kernel, states)
        print(f"{label}: {1 / seconds:,.0f} masks/s ({seconds * 1e6:.1f} us each), table built in {building:.2f} s")
        started = time.perf_counter()
        first = NumberFirstKernel(kernel)
        building = time.perf_counter() - started
        states = visited_states(first, 2000, np.random.default_rng(0))
        seconds = seconds_a_mask(first, states)
        print(
            f"  number first: {1 / seconds:,.0f} masks/s ({seconds * 1e6:.1f} us each), tables in {building:.2f} s more"
        )


if __name__ == "__main__":
    main()
