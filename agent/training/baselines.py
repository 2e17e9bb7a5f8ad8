"""The baselines of a config, and the known compounds that two of them start from."""

import warnings
from collections.abc import Callable

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.config.sampler import FROM_KNOWN
from oreflow.agent.errors import ConfigError, TrainingError
from oreflow.agent.search.known_objects import Sources
from oreflow.agent.search.searcher import Searcher
from oreflow.agent.training.priors import make_prior
from oreflow.agent.training.target import make_strata
from oreflow.agent.training.warm_start import known_objects, read_known
from oreflow.envs.chemistry.oxidation import resolve_table
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.crystal.space import WyckoffSpace


def make_searcher(config: Config, kernel: TransitionKernel, known: Callable[[], Sources] | None = None) -> Searcher:
    """The baseline of a config.

    Args:
        known: gives what is made of `sampler.warm_start.path`, where a baseline starts from it; read when first
            needed by default.
    """
    from oreflow.agent.search.genetic import Genetic
    from oreflow.agent.search.ion_exchange import IonExchange
    from oreflow.agent.search.metropolis_hastings import MetropolisHastings
    from oreflow.agent.search.prototype_decoration import PrototypeDecoration
    from oreflow.agent.search.searcher import RandomFeasible

    def read() -> Sources:
        with warnings.catch_warnings():  # `make_checked` has said what was left out
            warnings.simplefilter("ignore")
            return known_sources(config)

    match config.sampler.kind:
        case "rejection":
            from oreflow.agent.learners.rejection import Rejection

            prior = make_prior(config, kernel)
            assert prior is not None
            target = config.target
            strata = make_strata(config, kernel)
            return Rejection(kernel, prior, target.tau, config.largest_log_reward, target.least_log_prior, strata)
        case "metropolis_hastings":
            return MetropolisHastings(kernel, config.sampler.batch)
        case "genetic":
            return Genetic(kernel, config.sampler.batch)
        case "ion_exchange":
            return IonExchange(kernel, known or read)
        case "prototype_decoration":
            space = config.world.space()
            assert isinstance(space, CompositionSpace | WyckoffSpace)
            return PrototypeDecoration(kernel, known or read, space)
    return RandomFeasible(kernel)


def check_known(config: Config, kernel: TransitionKernel, source: str) -> None:
    """Read known compounds, and try what a baseline makes from them, before any work.

    Raises:
        ConfigError: when the file cannot be read, or nothing of the world comes of it.
    """
    if config.sampler.kind not in FROM_KNOWN:
        known_objects(config, kernel, source)
        return
    known = known_sources(config, source)
    try:
        make_searcher(config, kernel, lambda: known).propose(1, np.random.default_rng(0))
    except TrainingError as error:
        raise ConfigError(f"{source}: sampler.warm_start.path: {error}") from None


def known_sources(config: Config, source: str = "config") -> Sources:
    """What a baseline that starts from known compounds starts from: those in `sampler.warm_start.path`.

    Rows that cannot be read, and compounds that nothing in the world can be made from, are left out with a warning that
    counts them by reason.

    Raises:
        ConfigError: when the file cannot be read, or nothing can be made from any of its compounds.
    """
    from oreflow.agent.search.ion_exchange import exchangeable
    from oreflow.agent.search.prototype_decoration import prototypes

    known, bad_rows = read_known(config, source)
    space, path = config.world.space(), config.sampler.warm_start.path
    assert isinstance(space, CompositionSpace | WyckoffSpace)
    exchanges = config.sampler.kind == "ion_exchange"
    found = exchangeable(known, space, resolve_table(space.oxidation_table)) if exchanges else prototypes(known, space)
    left_out = "; ".join(f"{n} {why}" for why, n in found.left_out.items())
    if not len(found.objects):
        raise ConfigError(
            f"{source}: sampler.warm_start.path: expected known compounds from which {config.sampler.kind} can make "
            f"objects of this world, but none of those in {path} is one: {left_out}"
        )
    if bad_rows:
        left_out = f"{len(bad_rows)} that cannot be read, such as {bad_rows[0]}" + (f"; {left_out}" if left_out else "")
    if left_out:
        warnings.warn(f"{path}: {config.sampler.kind} leaves known compounds out: {left_out}", stacklevel=2)
    return found
