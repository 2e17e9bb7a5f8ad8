"""The example of MaskablePPO: an outside agent plays by the masks and finds better objects than random play."""

import numpy as np
import pytest
from examples.maskable_ppo import make_env, run

from oreflow.envs.errors import IllegalActionError


def test_an_outside_agent_improves_without_an_illegal_action() -> None:
    """Every action of training and of 3 x 150 episodes is legal: the environment raises at the first that is not."""
    figures = run(steps=1536, episodes=150)
    # log R of random play has a standard deviation of 0.68: two means of 150 objects differ by 0.08, one sigma.
    assert abs(figures["before"] - figures["random"]) < 0.3
    assert figures["after"] > figures["random"] + 0.25
    assert figures["after"] > figures["before"] + 0.25


def test_its_environment_would_have_noticed() -> None:
    env = make_env()
    _, info = env.reset(seed=0)
    with pytest.raises(IllegalActionError):
        env.step(int(np.flatnonzero(info["action_mask"] == 0)[0]))
