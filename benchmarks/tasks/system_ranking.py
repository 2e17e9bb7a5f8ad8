"""All formulas of one chemical system, ranked by how often samplers draw them."""

from dataclasses import dataclass

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.errors import ConfigError, TrainingError
from oreflow.agent.rollout.log_probabilities import log_prior
from oreflow.agent.search.ion_exchange import exchangeable
from oreflow.agent.search.prototype_decoration import prototypes
from oreflow.agent.training.baselines import make_searcher
from oreflow.agent.training.build import make_kernel, make_reward
from oreflow.agent.training.priors import make_prior
from oreflow.envs.chemistry.elements import atomic_number, electronegativities
from oreflow.envs.chemistry.oxidation import resolve_table
from oreflow.envs.objects.compositions import Compositions


@dataclass(frozen=True)
class Ranking:
    """All formulas of a world, with log P0, log R (NaN where invalid) and the terms' values, each float64 [formula]."""

    compositions: Compositions
    log_p0: np.ndarray
    log_r: np.ndarray
    terms: dict[str, np.ndarray]

    def scores(self) -> dict[str, np.ndarray]:
        """What each order ranks by, float64 [formula]; -inf where a formula is never sampled."""
        possible = np.isfinite(self.log_r)
        return {
            "prior_and_reward": np.where(possible, self.log_p0 + self.log_r, -np.inf),
            "prior": self.log_p0,
            "reward": np.where(possible, self.log_r, -np.inf),
            "random": np.zeros(len(self.log_p0)),
        }


def system_name(config: Config) -> str:
    """The elements of a world, from the least electronegative on, as chemists name a system."""
    chi = electronegativities()
    return "-".join(sorted(config.world.space().elements, key=lambda symbol: chi[atomic_number(symbol)]))


def of_system(compositions: Compositions, config: Config) -> np.ndarray:
    """bool [batch]: whether formulas hold all elements of the world and no other."""
    elements = sorted(map(atomic_number, config.world.space().elements))
    return np.array([[z for z in row if z] == elements for row in compositions.atomic_numbers.tolist()], dtype=np.bool_)


def rank(config: Config) -> Ranking:
    """Compute P0 and R of all formulas of a world of one system.

    Raises:
        ConfigError: when the config cannot be built, or has no prior.
    """
    kernel = make_kernel(config)
    prior = make_prior(config, kernel)
    if prior is None:
        raise ConfigError("target.prior: expected a prior, got none; a task of this kind ranks by P0 R")
    world = kernel.enumerate()
    states = world.states[world.can_stop]
    states = kernel.step(states, np.full(len(states), kernel.n_actions - 1))
    objects = kernel.objects(states)
    values = make_reward(config)(objects)
    log_r = np.where(values.valid, values.log_reward, np.nan) / config.target.tau
    terms = {name: term.values for name, term in values.terms.items()}
    return Ranking(objects, log_prior(kernel, prior, states), log_r, terms)


def hits(score: np.ndarray, known: np.ndarray, n: int) -> float:
    """How many known formulas are among the n of the largest score; of equal scores each has the same chance.

    Args:
        score: float64 [formula], -inf where it is never sampled.
        known: bool [formula].
    """
    sampled = np.flatnonzero(score > -np.inf)
    if n >= len(sampled):
        return float(known[sampled].sum())
    last = np.sort(score[sampled])[-n]
    above, tied = score > last, score == last
    return float(known[above].sum() + known[tied].mean() * (n - above.sum()))


def drawn_scores(config: Config, known: Compositions, world: Compositions, n: int) -> dict[str, np.ndarray]:
    """How often baselines that change known compounds draw each formula, float64 [formula]; -inf for never."""
    space, kernel = config.world.space(), make_kernel(config)
    sources = {
        "ion_exchange": lambda: exchangeable(known, space, resolve_table(space.oxidation_table)),
        "prototype_decoration": lambda: prototypes(known, space),
    }
    place = {key: row for row, key in enumerate(world.key_bytes())}
    out = {}
    for kind, source in sources.items():
        changed = config.model_copy(deep=True)
        changed.sampler.kind = kind  # type: ignore[assignment]
        made, counts = source(), np.zeros(len(world))
        if len(made.objects):
            try:
                drawn = make_searcher(changed, kernel, lambda made=made: made).propose(n, np.random.default_rng(0))
                np.add.at(counts, [place[key] for key in kernel.objects(drawn).key_bytes()], 1)
            except TrainingError:  # nothing of the world among a million draws
                pass
        out[kind] = np.where(counts > 0, counts, -np.inf)
    return out
