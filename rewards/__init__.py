"""What is worth building, and why: reward terms, their shaping into log R, and the registry users extend."""

from rewards.composite import Reward, RewardValues, build, build_term
from rewards.protocol import RewardTerm, TermValues
from rewards.registry import register

__all__ = ["Reward", "RewardTerm", "RewardValues", "TermValues", "build", "build_term", "register"]
