"""What is worth building, and why: reward terms, their shaping into log R, and the registry users extend."""

from rewards.composite import Reward, RewardValues, build
from rewards.protocol import RewardTerm, TermValues
from rewards.registry import register

__all__ = ["Reward", "RewardTerm", "RewardValues", "TermValues", "build", "register"]
