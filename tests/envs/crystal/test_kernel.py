"""The crystal world: the contract of a kernel, known prototypes, one terminal state a decoration."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from oreflow import envs
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.contract.check import check_kernel
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.objects.distances import contacts


@pytest.fixture(scope="module")
def rock_salt() -> WyckoffKernel:
    space = WyckoffSpace(
        space_groups=[225], elements=("Na", "Cl", "K"), n_elements=(2, 2), n_atoms=(2, 8), geometry=False
    )
    return WyckoffKernel(space)


def _small(groups: list[int]) -> WyckoffKernel:
    space = WyckoffSpace(
        space_groups=groups,
        elements=("Na", "Cl", "Ti", "O"),
        n_elements=(2, 3),
        n_atoms=(2, 8),
        grid=24,
        length_bin=0.1,
    )
    return WyckoffKernel(space)


@pytest.mark.parametrize("groups", [[1, 2], [5, 14], [36, 62], [47], [99, 123], [166], [194], [216, 221, 225]])
def test_contract(groups: list[int], rng: np.random.Generator) -> None:
    check_kernel(_small(groups), rng, 40)


def test_rock_salt_is_one_object(rock_salt: WyckoffKernel) -> None:
    """Na on 4a with Cl on 4b is the crystal with Cl on 4a and Na on 4b: one object, whichever letter comes first."""
    world = rock_salt.enumerate()
    labels = rock_salt.describe(world.states[world.can_stop])
    assert len(labels) == len(set(labels)) == 6
    assert sum("Na a, Cl b" in label or "Cl a, Na b" in label for label in labels) == 1


def test_sampled_crystals_keep_their_distance(rng: np.random.Generator) -> None:
    kernel = _small([1, 14, 62, 166, 225])
    states = kernel.initial(200)
    while not kernel.is_terminal(states).all():
        allowed = kernel.forward_allowed(states)
        actions = np.where(kernel.is_terminal(states), -1, np.argmax(rng.random(allowed.shape) * allowed, axis=1))
        states = kernel.step(states, actions)
    distance, ratio = contacts(kernel.objects(states).atoms(), covalent_radii())
    assert distance.min() >= 0.5
    assert ratio.min() >= 0.7


def test_a_composition_no_chosen_group_can_host_names_those_that_could() -> None:
    with pytest.raises(EmptyWorldError, match=r"227 \(Fd-3m\).*These could: .*\b221\b"):
        WyckoffKernel(WyckoffSpace(space_groups=[227], composition="SrTiO3", n_atoms=(5, 5)))


def test_single_and_vector_environments_agree(rng: np.random.Generator) -> None:
    assert "oreflow/Wyckoff-v0" in gymnasium.registry, envs.__doc__
    space = {"space_groups": [225], "elements": ("Na", "Cl", "O"), "n_elements": (2, 3), "n_atoms": (2, 8)}
    single = gymnasium.make("oreflow/Wyckoff-v0", **space)
    check_env(single.unwrapped, skip_render_check=True)
    many = gymnasium.make_vec("oreflow/Wyckoff-v0", num_envs=3, **space)
    observations, info = many.reset(seed=0)
    one, one_info = single.reset(seed=0)
    for _ in range(40):
        assert np.array_equal(observations[1], one)
        assert np.array_equal(info["action_mask"][1], one_info["action_mask"])
        allowed = np.flatnonzero(one_info["action_mask"])
        action = int(rng.choice(allowed))
        observations, rewards, ended, _, info = many.step(np.full(3, action))
        one, reward, terminated, truncated, one_info = single.step(action)
        assert rewards[1] == reward
        assert ended[1] == terminated
        assert not truncated
        if terminated:
            return
    pytest.fail("an episode of at most 40 steps was expected")
