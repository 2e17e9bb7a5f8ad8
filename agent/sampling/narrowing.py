"""Trained policies drawing within bounds: completions of a partial object, and objects near a given one.

The policy's probabilities are conditioned step by step on what can still be finished within the bounds: at each state
the actions that cannot are left out, and the others keep their ratios. That is a law of its own, whose exact log P the
candidate tables hold. It is not P(x) of the run conditioned on the bounds, which would weigh each action by how much of
P lies behind it as well.
"""

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from oreflow.agent.errors import ConfigError
from oreflow.agent.policy.network import Policy
from oreflow.agent.policy.strata import Strata, first_actions
from oreflow.agent.sampling.sampler import PolicySampler, Sampler
from oreflow.agent.tables.known_crystals import read_crystals
from oreflow.envs.arrays import Bools, Floats, States
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.composition.completion import CompletedKernel, complete_composition
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.neighbours import formula_changes, formula_neighbours, read_formula
from oreflow.envs.composition.number_first import NumberFirstKernel
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.crystal.completion import complete_crystal
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.neighbours import CrystalNeighbourhood
from oreflow.envs.errors import EmptyWorldError, StartError
from oreflow.envs.objects.partial import Partial, parse_partial
from oreflow.envs.symmetry.space_groups import LETTERS


@dataclass
class Narrowing:
    """What draws within bounds.

    Attributes:
        kernel: whose objects these are, for labels and random objects to compare with.
        sampler: draws them.
        policy: of the run, with the shares of what is left of its strata.
        note: what the summary says of it.
        columns: further columns of the candidate table, from terminal states.
        n_objects: how many objects there are within the bounds, None where nobody knows; None in the place of the
            function where the kernel knows.
    """

    kernel: TransitionKernel
    sampler: Sampler
    policy: Policy
    note: dict[str, Any]
    columns: Callable[[States], Mapping[str, Sequence[Any]]] = field(default=lambda states: {})
    n_objects: Callable[[], int | None] | None = None


class Part(Protocol):
    """A kernel of a part of a world."""

    def holds(self, terminal: States) -> Bools:
        """Tell which terminal states of the world are in this part, bool [batch]."""
        ...


class MixtureSampler:
    """Draws from one of several kernels, each equally likely, by the same policy.

    Args:
        kernels: each also a `Part`; their layout is that of the policy's kernel. They may overlap.
        samplers: one a kernel.
    """

    def __init__(self, kernels: Sequence[Part], samplers: Sequence[PolicySampler]) -> None:
        self.kernels, self.samplers = kernels, samplers

    def draw(self, n: int, rng: np.random.Generator) -> States:
        """Terminal states [n, *state_shape].

        Raises:
            DeadEndError: if a state has no allowed action, which would be a defect of a kernel.
        """
        which = rng.integers(0, len(self.samplers), size=n)
        parts = [self.samplers[i].draw(int((which == i).sum()), rng) for i in np.unique(which).tolist()]
        out = np.empty((n, *parts[0].shape[1:]), dtype=parts[0].dtype)
        out[np.argsort(which, kind="stable")] = np.concatenate(parts)
        return out

    def log_probability(self, terminal: States) -> Floats:
        """log of the probability that one draw is this object, float64 [batch]: all kernels and build orders summed."""
        out = np.full(len(terminal), -np.inf)
        for kernel, sampler in zip(self.kernels, self.samplers):
            here = kernel.holds(terminal)
            if here.any():
                out[here] = np.logaddexp(out[here], sampler.log_probability(terminal[here]))
        return out - np.log(len(self.samplers))


def completing(
    kernel: TransitionKernel, policy: Policy | None, start: str, condition: torch.Tensor | None = None
) -> Narrowing:
    """Draw completions of a partial object.

    Args:
        kernel, policy: of the run.
        start: as `oreflow.envs.objects.partial` reads it.
        condition: what a conditional policy draws for.

    Raises:
        StartError: when nothing of the world completes it; naming the constraint that forbids it.
        ConfigError: for a run whose policy or world cannot.
    """
    policy = _can_be_narrowed(kernel, policy, "--start")
    completed: TransitionKernel
    if isinstance(kernel, WyckoffKernel):
        completed = complete_crystal(kernel, start)
    else:
        assert isinstance(kernel, CompositionKernel | NumberFirstKernel)
        completed = complete_composition(kernel.space, start)
        if isinstance(kernel, NumberFirstKernel):
            try:
                completed = kernel.within(completed)
            except EmptyWorldError:
                raise StartError(
                    f"start {start!r}: target.n_elements of this run gives no share to its numbers of elements; it has "
                    f"{', '.join(map(str, kernel.numbers.tolist()))}"
                ) from None
    policy = within(policy, completed)
    note = {"start": start, "target": f"completions of {start}, by the run's policy conditioned step by step"}
    return Narrowing(completed, PolicySampler(completed, policy, condition), policy, note)


def tinkering(
    kernel: TransitionKernel, policy: Policy | None, near: str, changes: int, condition: torch.Tensor | None = None
) -> Narrowing:
    """Draw objects that differ from a given one by one change at least and `changes` at most.

    Which parts go is drawn first, each choice that can be completed equally likely; the policy puts others in.

    Args:
        near: a formula; in a world of crystals a space group with all sites, or a file with one structure.

    Raises:
        StartError: when it cannot be read, or nothing of the world is that near.
        ConfigError: for a run whose policy or world cannot.
    """
    policy = _can_be_narrowed(kernel, policy, "--near")
    note = {
        "near": near,
        "changes": changes,
        "target": f"what differs from {near} by at most {changes} change{'s' * (changes > 1)}, by the run's policy "
        "conditioned step by step",
    }
    if isinstance(kernel, WyckoffKernel):
        hood = CrystalNeighbourhood(kernel, _read_crystal(near), changes)
        samplers = [PolicySampler(own, within(policy, own), condition) for own in hood.kernels]
        return Narrowing(
            kernel,
            MixtureSampler(hood.kernels, samplers),
            policy,
            note,
            lambda states: {"changes": [", ".join(texts) for texts in hood.changes(states)]},
            lambda: None if kernel.world.geometry else len(hood.decorations),
        )
    assert isinstance(kernel, CompositionKernel | NumberFirstKernel)
    formula, elements = read_formula(near), kernel.space.elements
    parts = _numbered(kernel, formula_neighbours(kernel.space, formula, changes))
    if not parts:
        raise StartError(f"no formula near {near} has a number of elements with a share in target.n_elements")

    def changed(states: States) -> dict[str, list[str]]:
        rows = [{e: n for e, n in zip(elements, row) if n} for row in states[:, : len(elements)].tolist()]
        return {"changes": [", ".join(formula_changes(formula, row)) for row in rows]}

    def n_objects() -> int | None:
        if any(part.enumeration_unavailable_reason for part in parts):
            return None
        return sum(part.enumerate().n_objects for part in parts)

    sampler = MixtureSampler(parts, [PolicySampler(part, within(policy, part), condition) for part in parts])
    return Narrowing(kernel, sampler, policy, note, changed, n_objects)


def _numbered(
    kernel: CompositionKernel | NumberFirstKernel, parts: list[CompletedKernel]
) -> list[CompletedKernel] | list[NumberFirstKernel]:
    """The same parts with the number of elements chosen first, where the kernel has it so; those without one go."""
    if isinstance(kernel, CompositionKernel):
        return parts
    found = []
    for part in parts:
        with contextlib.suppress(EmptyWorldError):
            found.append(kernel.within(part))
    return found


def within(policy: Policy, kernel: TransitionKernel) -> Policy:
    """The same policy, its strata those that a narrowed kernel allows, with their shares of what is left.

    Raises:
        ConfigError: when all that the kernel allows have share 0.
    """
    strata = policy.strata
    if strata is None:
        return policy
    kept = np.flatnonzero(np.isin(strata.actions, first_actions(kernel)))
    if not len(kept):
        raise ConfigError(
            "the target of this run gives no share to any space group or number of elements that these bounds leave"
        )
    log_share = strata.log_share[kept] - np.logaddexp.reduce(strata.log_share[kept])
    actions, names = strata.actions[kept], tuple(strata.names[i] for i in kept.tolist())
    policy = copy.deepcopy(policy)
    roots = kernel.step(kernel.initial(len(kept)), actions)
    policy.strata = Strata(actions, roots, log_share, names)
    if policy.log_z_of_strata is not None:
        policy.log_z_of_strata = torch.nn.Parameter(policy.log_z_of_strata.detach()[torch.from_numpy(kept)])
    return policy


def _can_be_narrowed(kernel: TransitionKernel, policy: Policy | None, option: str) -> Policy:
    if policy is None:
        raise ConfigError(
            f"{option} needs a policy, which this run's sampler.kind has not; take a run of gflownet, policy_gradient "
            "or prior"
        )
    if not isinstance(kernel, CompositionKernel | NumberFirstKernel | WyckoffKernel):
        raise ConfigError(f"{option} works in worlds of kind composition and wyckoff; leave it out")
    if getattr(kernel.space, "start", None) is not None:
        raise ConfigError(
            f"{option}: this run was trained with world.start = {kernel.space.start!r}, and completes that alone; "  # type: ignore[union-attr]
            "leave the option out, or take a run without"
        )
    return policy


def _read_crystal(near: str) -> Partial:
    """A crystal from a file of one structure, or as a start that leaves nothing open.

    Raises:
        StartError: when the text cannot be read, or the file has more structures than one.
        TableError: when the file cannot be read.
    """
    if not Path(near).is_file():
        return parse_partial(near)
    crystals = read_crystals(near).crystals
    if len(crystals) != 1:
        raise StartError(f"{near}: expected one structure, got {len(crystals)}; name a file of one")
    sites = zip(crystals.atomic_number.tolist(), crystals.letter.tolist())
    return parse_partial(f"{crystals.space_group[0]}: " + " ".join(f"{symbols()[z]}@{LETTERS[i]}" for z, i in sites))
