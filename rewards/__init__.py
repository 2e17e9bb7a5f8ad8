"""What is worth building, and why: reward terms, their shaping into log R, and the registry users extend."""

import os

# As in `agent`, for those who use the rewards alone: threads that spin while they wait cost a factor of ten and more on
# a machine with other work; OpenMP reads the setting when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rewards.composite import Reward, RewardValues, build, build_term
from rewards.protocol import RewardTerm, TermValues
from rewards.registry import register

__all__ = ["Reward", "RewardTerm", "RewardValues", "TermValues", "build", "build_term", "register"]
