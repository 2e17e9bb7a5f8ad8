"""Random objects of a world, to compare a sampler with and to try rewards on."""

import numpy as np

from oreflow.agent.search.random_walks import random_rollout
from oreflow.envs.arrays import States
from oreflow.envs.contract.drawing import DrawsUniformly, TooRareError
from oreflow.envs.contract.labelings import canonical
from oreflow.envs.contract.protocol import TransitionKernel

UNIFORM, BUILD_ORDERS = "uniform random", "random build orders"


def random_objects(kernel: TransitionKernel, n: int, rng: np.random.Generator) -> tuple[States, str]:
    """Terminal states of n random objects, and how they were drawn: UNIFORM or BUILD_ORDERS.

    Where the kernel can (of formulas and alloys) every object is equally likely, unless they are too rare to be found
    so. Otherwise every allowed action is equally likely: objects with many build orders, or built by few alternatives,
    come up more often.
    """
    if isinstance(kernel, DrawsUniformly):
        try:
            return kernel.sample_uniform(n, rng), UNIFORM
        except TooRareError:
            pass
    return canonical(kernel, random_rollout(kernel, kernel.initial(n), rng)[0]), BUILD_ORDERS
