"""The prior of a config: a shipped one by its name, or a run of `fit-prior` by its folder."""

from pathlib import Path

from oreflow.agent.config.run import Config
from oreflow.agent.errors import ConfigError
from oreflow.agent.policy.network import Policy
from oreflow.agent.policy.prior import Prior
from oreflow.agent.storage.checkpoint import load_policy
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.shipped_priors import fill, shipped_config, shipped_names
from oreflow.agent.training.parts import make_kernel, make_policy
from oreflow.envs.contract.inclusion import Includable
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.suggestions import nearest


def fitted_config(name_or_path: str | Path) -> Config:
    """The config that a prior was fitted under.

    Raises:
        ConfigError: when it is neither the name of a shipped prior nor a run of sampler.kind prior.
        RunFolderError: when the run is not valid.
    """
    name = str(name_or_path)
    if name in shipped_names():
        return shipped_config(name)
    folder = RunFolder(name)
    if not folder.config_path.is_file():
        raise ConfigError(
            "prior: expected the name of a shipped prior or the folder of one that `oreflow fit-prior` made, "
            f"got {name!r}; {nearest(name, shipped_names())}"
        )
    config = folder.load_config()
    if config.sampler.kind != "prior":
        raise ConfigError(f"prior: expected a run of sampler.kind prior, got one of {config.sampler.kind} in {name}")
    return config


def fitted_policy(name_or_path: str | Path, config: Config, kernel: TransitionKernel) -> Policy:
    """The network of a prior.

    Args:
        config, kernel: those that it was fitted under.

    Raises:
        RunFolderError, CheckpointError: when there is no checkpoint, or it is damaged.
    """
    policy = make_policy(config, kernel)
    if str(name_or_path) in shipped_names():
        fill(policy, str(name_or_path))
    else:
        load_policy(RunFolder(name_or_path).latest_checkpoint(), policy)
    return policy.requires_grad_(False)


def make_prior(config: Config, kernel: TransitionKernel) -> Prior | None:
    """The prior of a config's target, for the kernel of its world; None without one.

    Raises:
        ConfigError: when there is no such prior, or it does not know all objects of the world; naming what it lacks.
        RunFolderError, CheckpointError: when its run is damaged.
    """
    name = config.target.prior
    if name is None:
        return None
    fitted = fitted_config(name)
    if fitted.world.kind != config.world.kind or not isinstance(kernel, Includable):
        raise ConfigError(
            f"target.prior: {name} was fitted in a world of kind {fitted.world.kind}, and this one is of kind "
            f"{config.world.kind}; fit one in this world with oreflow fit-prior --config, or leave target.prior out"
        )
    theirs = make_kernel(fitted)
    try:
        inclusion = kernel.included_in(theirs)
    except ValueError as error:
        raise ConfigError(
            f"target.prior: {name} knows another world: {error}. Narrow the world, or fit a prior in it with "
            "oreflow fit-prior --config"
        ) from None
    return Prior(theirs, fitted_policy(name, fitted, theirs), inclusion)


def settle_prior(config: Config, kernel: TransitionKernel) -> None:
    """Write where a prior is into the config, and the widths of its network, which the sampler takes over.

    Raises:
        ConfigError, RunFolderError, CheckpointError: as `make_prior`.
    """
    name = config.target.prior
    if name is None:
        return
    if name not in shipped_names() and Path(name).exists():
        config.target.prior = str(Path(name).resolve())
    make_prior(config, kernel)
    if "hidden" not in config.sampler.model_fields_set:
        config.sampler.hidden = fitted_config(config.target.prior or name).sampler.hidden
