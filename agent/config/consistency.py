"""Faults of a config that no section sees alone: target, sampler, reward and world that do not go together.

Each check raises ValueError, which the config's validation puts into words of its own.
"""

from typing import Any, Protocol

from oreflow.agent.config.sampler import FROM_KNOWN, OBJECTIVES, SamplerConfig
from oreflow.agent.config.sections import RewardConfig, RunConfig
from oreflow.agent.config.target import TargetConfig
from oreflow.envs.registry import STRUCTURE
from oreflow.envs.suggestions import nearest
from oreflow.rewards.composite import make_shape
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.shaping import BOUNDED_SHAPES


class Sections(Protocol):
    """A config, as far as its sections have to do with one another."""

    world: Any
    reward: RewardConfig
    target: TargetConfig
    sampler: SamplerConfig
    run: RunConfig

    def target_shape(self) -> dict[str, Any]:
        """The shape of the term that a family of targets asks for."""
        ...


def check_executor(config: Sections) -> None:
    """Refuse an executor that nothing would use."""
    if config.run.executor.kind != "local" and not any(term.isolated for term in config.reward.terms):
        raise ValueError(
            f"run.executor: kind {config.run.executor.kind} is for reward terms with isolated: true, and there is "
            "none; set it on the dear ones, or leave run.executor out"
        )


def check_target(config: Sections) -> None:
    """Refuse a target that the world or the sampler cannot have."""
    if config.target == TargetConfig():
        return
    if config.target.prior is not None and (
        config.sampler.kind not in ("gflownet", "policy_gradient", "rejection")
        or config.sampler.engine == "torchgfn"
        or config.sampler.backward == "learned"
    ):
        raise ValueError(
            "target.prior: works with gflownet, policy_gradient and rejection, without torchgfn's engine "
            "and a learned P_B, which plays no part beside a prior; change sampler, or leave the prior out"
        )
    if config.target == TargetConfig(prior=config.target.prior, tau=config.target.tau):
        return
    if config.target.prescribes_numbers and config.world.kind != "composition":
        raise ValueError(
            "target.n_elements: expected a world of formulas (kind: composition), whose numbers of elements can "
            f"have shares, got world.kind {config.world.kind}; leave it at counted"
            + (", and prescribe space_groups" if config.world.kind == "wyckoff" else ", or choose composition")
        )
    if config.world.kind != "wyckoff" and (config.target.prescribes_groups or config.target.measure != "counted"):
        raise ValueError(
            f"target: space groups and geometries are those of crystals, got world.kind {config.world.kind}; leave "
            "space_groups and measure out, or choose wyckoff"
        )
    thins = config.sampler.kind == "rejection"
    faults = {
        f"sampler.kind {config.sampler.kind} learns nothing": config.sampler.kind not in OBJECTIVES and not thins,
        "sampler.kind rejection thins space groups by a power of what they have": thins
        and config.target.space_groups != "power",
        "a prior is fitted to known objects, whatever their shares": config.sampler.kind == "prior",
        "sampler.engine torchgfn trains R/Z alone": config.sampler.engine == "torchgfn",
        f"a family of rewards ({config.sampler.family.in_words}) has one log Z a condition": bool(
            config.sampler.family.kinds
        ),
    }
    if config.target.measure == "normalised":
        _check_normalised(config, faults)
    for fault, holds in faults.items():
        for key in ("space_groups", "n_elements"):
            if holds and getattr(config.target, key) != "counted":
                raise ValueError(f"target.{key}: {fault}; leave it at counted, or choose another sampler")


def _check_normalised(config: Sections, faults: dict[str, bool]) -> None:
    """Refuse normalisers of geometries where there are none, or where log R is one number."""
    own = {
        "world.geometry is false, so there are no geometries": not getattr(config.world, "geometry", True),
        "sampler.replay keeps log R as one number": config.sampler.replay.share > 0,
        "sampler.local_search compares log R as one number": config.sampler.local_search.rounds > 0,
    }
    for fault, holds in (faults | own).items():
        if holds:
            raise ValueError(f"target.measure: normalised, but {fault}; change one of the two, or choose density")


def check_rejection(config: Sections) -> None:
    """Refuse rejection without a prior of the same objects, or without a bound of log R."""
    if config.sampler.kind != "rejection":
        if config.target.least_log_prior is not None:
            raise ValueError(
                f"target.least_log_prior: works with sampler.kind rejection, got {config.sampler.kind}; choose "
                "rejection, or leave it out"
            )
        return
    if config.target.prior is None:
        raise ValueError("sampler.kind: rejection takes draws of a prior; add target.prior, or choose gflownet")
    if config.world.space().object_kind == STRUCTURE and getattr(config.world, "geometry", False):
        raise ValueError(
            "sampler.kind: rejection draws what the prior does, and that is decorations; set world.geometry to "
            "false, or choose gflownet"
        )
    unbounded = [term.name for term in config.reward.terms if term.shape.get("kind") not in BOUNDED_SHAPES]
    if unbounded and "log_max" not in config.reward.model_fields_set:
        raise ValueError(
            f"sampler.kind: rejection needs a largest log R, and the shape of {', '.join(unbounded)} has none; "
            f"choose one of {', '.join(BOUNDED_SHAPES)}, or set reward.log_max"
        )


def check_known(config: Sections) -> None:
    """Refuse baselines that change known compounds in worlds where that has no meaning."""
    kind = config.sampler.kind
    if kind not in FROM_KNOWN:
        return
    if config.world.kind not in ("composition", "wyckoff"):
        raise ValueError(
            f"sampler.kind: {kind} makes formulas or decorations, got world.kind {config.world.kind}; choose "
            "composition or wyckoff, or another sampler"
        )
    if getattr(config.world, "geometry", False):
        raise ValueError(
            f"sampler.kind: {kind} makes decorations, to which other elements give another geometry; set "
            "world.geometry to false (`oreflow realise` finds geometries), or choose another sampler"
        )


def check_measured(config: Sections) -> None:
    """Refuse figures of exactness for a sampler that has no probabilities."""
    if config.run.measure_every and (config.sampler.kind not in OBJECTIVES or config.sampler.kind == "prior"):
        raise ValueError(
            f"run.measure_every: {config.sampler.kind} has no probabilities that R is the target of; leave it at 0, "
            "or choose gflownet or policy_gradient"
        )


def _check_preference(config: Sections) -> None:
    """Refuse a family of weights of a single term."""
    if "preference" in config.sampler.family.kinds and len(config.reward.terms) < 2:
        raise ValueError(
            f"sampler.family: preference weighs reward.terms against each other, expected at least 2, got "
            f"{len(config.reward.terms)}; add one, or choose temperature"
        )


def check_family(config: Sections) -> None:
    """Refuse a family that the reward does not make."""
    _check_preference(config)
    name = config.sampler.family.term
    if name is None:
        return
    known = [term.label or term.name for term in config.reward.terms]
    if name not in known:
        raise ValueError(
            f"sampler.family.term: expected the name or label of one of reward.terms, got {name!r}; "
            f"{nearest(name, known)}"
        )
    shape = config.target_shape()
    kind = shape.get("kind")
    if kind != "target":
        raise ValueError(
            f"sampler.family.term: expected a term whose shape is target, as its value is what is asked for, got "
            f"{name} of shape {kind}; give it {{kind: target, value: ..., width: ...}}, or name another term"
        )
    try:
        make_shape("target", {key: value for key, value in shape.items() if key != "kind"})
    except RewardParameterError as error:
        raise ValueError(f"sampler.family.term: the shape of {name}: {error}") from None


def check_asynchronous(config: Sections) -> None:
    """Refuse training that goes on without its rewards where nothing can be learned from what came before."""
    wanted, sampler = config.run.asynchronous, config.sampler
    if wanted is None:
        return
    isolated = [term for term in config.reward.terms if term.isolated]
    faults = {
        f"sampler.kind {sampler.kind} learns from its own draws at once; choose gflownet": sampler.kind != "gflownet",
        "sampler.replay.share is 0, so there is nothing to learn from meanwhile; set it, such as 0.5": (
            sampler.replay.share == 0
        ),
        "sampler.local_search needs each reward at once; set its rounds to 0": sampler.local_search.rounds > 0,
        "run.measure_every would ask for the rewards of all objects that it measures on; set it to 0": (
            config.run.measure_every > 0
        ),
        "no term has isolated: true, so there is nothing to wait for; set it for the dear ones": not isolated,
        "budget_cost is set, and no isolated term has a cost; give the cost of one value, or use budget_calls": (
            wanted.budget_cost is not None and not any(term.cost for term in isolated)
        ),
    }
    for fault, holds in faults.items():
        if holds:
            raise ValueError(f"run.asynchronous: {fault}, or leave asynchronous out")
