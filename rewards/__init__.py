"""What is worth building, and why: reward terms, their shaping into log R, and the registry users extend."""

from oreflow.rewards.composite import Reward, RewardValues, build, build_term
from oreflow.rewards.contract.protocol import RewardTerm, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.registry import register

__all__ = ["Reward", "RewardTerm", "RewardValues", "Term", "TermValues", "build", "build_term", "register"]
