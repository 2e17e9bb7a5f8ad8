"""Numbers that change over a training run: learning rates, exploration, the memory of log Z."""

import math


def linear(start: float, end: float, done: float) -> float:
    """From `start` to `end` as `done` goes from 0 to 1."""
    return start + done * (end - start)


LOG_Z_MEMORY = 0.9  # of the running mean that stands for log Z where the objective does not learn it


def cosine(floor: float, done: float) -> float:
    """From 1 down to `floor` along half a cosine as `done` goes from 0 to 1."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
