"""Drawing as many objects as one likes: the distinct ones go to a scratch file, memory holds a key of each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oreflow.agent.runtime.progress import Progress
from oreflow.agent.sampling.distinct_counter import DistinctCounter
from oreflow.agent.sampling.sampler import Sampler
from oreflow.agent.storage.scratch import ArrayFile, writing_to
from oreflow.envs.arrays import AnyInts, Bools, Ints
from oreflow.envs.contract.labelings import canonical, count_objects
from oreflow.envs.contract.protocol import TransitionKernel

_BATCH = 1024


@dataclass
class Draws:
    """What was drawn.

    Attributes:
        n: how many draws.
        objects: the distinct objects as terminal states, in order of first appearance.
        numbers: which object each draw is, int64 [draw]; empty when only distinct ones were asked for.
        times: int64 [object], how often each was drawn.
        exhausted: whether every object of the world was drawn, so that more draws bring nothing new.
    """

    n: int
    objects: ArrayFile
    numbers: ArrayFile
    times: Ints
    exhausted: bool


def draw(
    kernel: TransitionKernel,
    sampler: Sampler,
    n: int,
    rng: np.random.Generator,
    *,
    unique: bool,
    max_draws: int,
    scratch: Path,
    progress: Progress,
    count: Callable[[], int | None] | None = None,
) -> Draws:
    """n successive draws; with `unique`, just as many as it takes to see n distinct objects.

    Args:
        max_draws: where to give up. A small world ends earlier, when all its objects were seen.
        scratch: folder for the files.
        count: says how many objects can be drawn, where that is not all of the kernel's; None for what nobody knows.

    Raises:
        OutputError: when the scratch files cannot be written.
    """
    counter = DistinctCounter()
    objects, numbers = ArrayFile(scratch / "objects"), ArrayFile(scratch / "numbers")
    n_drawn = n_stale = 0
    n_objects = 0  # of the world; 0 while not known
    while n_drawn < max_draws and (len(counter) if unique else n_drawn) < n and not 0 < n_objects <= len(counter):
        wanted = n - len(counter) if unique else n - n_drawn
        terminal = sampler.draw(min(_BATCH, max_draws - n_drawn, max(wanted, 32)), rng)
        if not unique:
            terminal = terminal[:wanted]
        terminal = canonical(kernel, terminal)
        n_before = len(counter)
        number = counter.add(terminal, stop_at=n if unique else None)
        with writing_to(scratch.parent):
            objects.append(terminal[: len(number)][first_of_their_kind(number, n_before)])
            if not unique:
                numbers.append(number)
        n_drawn += len(number)
        n_stale = n_stale + len(number) if len(counter) == n_before else 0
        # Only when draws bring nothing new, or are used up: it costs more than the draws of a small sample.
        looks = n_stale >= _BATCH or (n_stale and n_drawn >= max_draws)
        if unique and not n_objects and looks:
            if count is not None:
                n_objects = count() or 0
            elif kernel.enumeration_unavailable_reason is None:
                n_objects = count_objects(kernel)
        progress.update(min(len(counter) if unique else n_drawn, n), draws=n_drawn)
    return Draws(n_drawn, objects, numbers, counter.times, 0 < n_objects <= len(counter))


def first_of_their_kind(numbers: AnyInts, n_before: int) -> Bools:
    """bool [draw]: which draws show an object for the first time, when `n_before` were seen before them."""
    seen = np.maximum.accumulate(np.append(n_before - 1, numbers))
    return numbers > seen[:-1]
