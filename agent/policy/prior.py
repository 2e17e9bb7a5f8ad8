"""A prior: the law P0 of a policy fitted to known objects, for kernels of its own world and of smaller ones."""

from dataclasses import dataclass

import torch

from oreflow.agent.policy.network import FactoredWeights, Policy
from oreflow.envs.contract.inclusion import Inclusion
from oreflow.envs.contract.protocol import TransitionKernel


@dataclass(frozen=True)
class Prior:
    """What known objects look like.

    Attributes:
        kernel: of the world that it was fitted in.
        policy: the fitted policy, whose parameters stay as they are.
        inclusion: how the world in which it is used lies in that one.
    """

    kernel: TransitionKernel
    policy: Policy
    inclusion: Inclusion


def start_from(policy: Policy, prior: Prior) -> bool:
    """Copy a prior's weights into a policy of a world within the prior's; a sampler then starts as a copy of its prior.

    Tokens and actions get the rows of those that say the same; others begin without effect, but for the heads of
    actions that the prior does not know, which begin as they are.

    Returns:
        Whether the networks are alike; otherwise nothing is copied.
    """
    own, given = policy.state_dict(), prior.policy.state_dict()
    between = [name for name in given if name.startswith("layers.") or name == "embedding_bias"]
    rows = (policy.embedding, prior.policy.embedding), (policy.head, prior.policy.head)
    alike = set(between) == {name for name in own if name.startswith("layers.") or name == "embedding_bias"}
    alike = alike and all(own[name].shape == given[name].shape for name in between)
    if not alike or any(ours.own.shape[1] != theirs.own.shape[1] for ours, theirs in rows):
        return False
    with torch.no_grad():
        for name in between:
            own[name].copy_(given[name])
        tokens = torch.from_numpy(prior.inclusion.tokens)
        _take_rows(policy.embedding, prior.policy.embedding, tokens, keep_unknown=False)
        actions = torch.from_numpy(prior.inclusion.actions)
        _take_rows(policy.head, prior.policy.head, actions, keep_unknown=True)
        known = actions >= 0
        policy.head_bias[known] = prior.policy.head_bias[actions[known]]
    return True


def _take_rows(ours: FactoredWeights, theirs: FactoredWeights, place: torch.Tensor, keep_unknown: bool) -> None:
    """Give each row the sum that its counterpart has, all of it as a row of its own.

    Args:
        place: int64 [row], the counterparts, -1 for none; rows beyond keep what they have.
        keep_unknown: whether rows without a counterpart keep their sums, or become 0.
    """
    before, known = ours(), place >= 0
    n = len(place)
    for shared in ours.shared:
        shared.zero_()
    own = before[:n].clone() if keep_unknown else torch.zeros_like(before[:n])
    own[known] = theirs()[place[known]]
    ours.own[:n] = own
