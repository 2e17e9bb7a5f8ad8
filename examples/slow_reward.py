"""A reward that takes its time, as a calculation on another machine does, and a run whose workers are those of Ray.

pip install 'oreflow[ray]'
oreflow train examples/slow_reward_on_ray.yaml --plugin examples/slow_reward.py --out runs/on_ray

This starts Ray on this machine for the run. On a cluster, start Ray on its machines first, give the address of the
first one, and let the plug-in, and whatever it reads, lie at the same place on all of them:

ray start --head --port 6379                     # on the first
ray start --address FIRST:6379                   # on each of the others
oreflow train … --set run.executor.address=FIRST:6379 --set run.executor.workers=null
"""

import time

import numpy as np

import oreflow
from oreflow import rewards


@rewards.register("slow_size")
class SlowSize:
    """Number of atoms of a formula unit, after a while; put a program of your own in its place.

    Args:
        seconds: that each formula takes.
    """

    name, unit, version, citations, requires = "slow_size", "1", "1", (), "composition"

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds

    def __call__(self, batch: oreflow.Compositions) -> rewards.TermValues:
        time.sleep(self.seconds * len(batch))
        sizes = batch.reduced().n_atoms
        return rewards.TermValues(sizes.astype(np.float64), np.ones(len(batch), dtype=np.bool_))
