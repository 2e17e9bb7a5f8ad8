"""The section `sampler` of a config: how to search."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from oreflow.agent import registry
from oreflow.agent.config.closed_model import Closed
from oreflow.agent.config.family import FamilyConfig
from oreflow.envs.errors import PluginError

OBJECTIVES = {
    "gflownet": (
        "trajectory_balance",
        "sub_trajectory_balance",
        "detailed_balance",
        "log_partition_variance",
    ),
    "policy_gradient": ("baseline", "gae", "entropic_ppo"),
    "prior": ("maximum_likelihood",),
}


class ReplayConfig(Closed):
    """Training again on objects found before, along new build orders drawn from P_B."""

    share: float = Field(0.0, ge=0, lt=1, description="share of each batch that comes from the buffer; 0 turns it off")
    capacity: int = Field(10_000, ge=1, description="objects in the buffer; those of the lowest log R leave first")
    priority: float = Field(
        0.5, ge=0, le=1, description="an object is drawn with probability proportional to R to this power; 0: uniformly"
    )


class LocalSearchConfig(Closed):
    """Taking found objects apart and finishing them anew; better ones join the batch."""

    rounds: int = Field(0, ge=0, description="attempts for each object of a batch, each costs a reward call; 0: off")
    go_on: float = Field(0.5, ge=0, lt=1, description="probability of each further step back")


class WarmStartConfig(Closed):
    """Known compounds: they fill the replay buffer before the first step, or are what kind starts from."""

    path: str | None = Field(
        None, description="CSV or Parquet file of formulas, or structures for crystals; null: no warm start"
    )


Kind = Literal[
    "gflownet",
    "policy_gradient",
    "prior",
    "rejection",
    "random",
    "metropolis_hastings",
    "genetic",
    "ion_exchange",
    "prototype_decoration",
]
FROM_KNOWN = ("ion_exchange", "prototype_decoration")  # baselines that start from the compounds of warm_start.path


class SamplerConfig(Closed):
    """How to search."""

    kind: Kind = Field(
        "gflownet",
        description="family of the sampler; prior learns what the objects of warm_start.path look like, and nothing of "
        "the reward; rejection takes draws of target.prior by their reward, exactly and without training; the last "
        "five learn nothing and are there to compare with, two of them by changing the compounds of warm_start.path",
    )
    objective: str = Field(
        "trajectory_balance",
        description="loss; baseline, gae and entropic_ppo are those of policy_gradient, gae its default; "
        "maximum_likelihood that of prior",
    )
    objective_params: dict[str, Any] = Field({}, description="parameters of an objective of your own")
    policy: str = Field("mlp", description="network: the built-in mlp, or one of your own")
    policy_params: dict[str, Any] = Field({}, description="parameters of a policy of your own")
    engine: Literal["oreflow", "torchgfn"] = Field(
        "oreflow", description="torchgfn: train with torchgfn's own sampler and loss (gflownet only; slower)"
    )
    backward: Literal["uniform", "learned"] = Field("uniform", description="backward policy P_B")
    hidden: list[Annotated[int, Field(ge=1)]] = Field(
        [256, 256], min_length=1, description="widths of the hidden layers"
    )
    steps: int = Field(2000, ge=1, description="gradient steps")
    batch: int = Field(256, ge=1, description="trajectories a step")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's learning rate of the policy at the start")
    log_z_learning_rate: float = Field(0.1, gt=0, description="Adam's learning rate of log Z at the start")
    final_learning_rate_share: float = Field(
        0.01, gt=0, le=1, description="both rates fall along a cosine to this share of their start"
    )
    epsilon_start: float = Field(
        0.05, ge=0, le=1, description="share of uniformly random actions at the start; policy_gradient has none"
    )
    epsilon_end: float = Field(0.0, ge=0, le=1, description="the same at the end; linear between")
    epsilon_first: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the same of first actions, such as space groups, at the start; linear to epsilon_end",
    )
    temperature_start: float = Field(
        1.0, gt=0, description="training draws actions from P_F to the power of 1 / temperature: at the start"
    )
    temperature_end: float = Field(1.0, gt=0, description="the same at the end; linear between")
    gradient_clip: float = Field(10.0, gt=0, description="largest norm of the policy's gradient")
    sub_trajectory_lambda: float = Field(
        0.9, gt=0, description="sub_trajectory_balance: weight of a sub-trajectory for each step of its length"
    )
    gae_lambda: float = Field(
        0.7, ge=0, le=1, description="gae, entropic_ppo: from one-step advantages (0) to whole returns (1)"
    )
    value_weight: float = Field(1.0, gt=0, description="policy_gradient: weight of the values' loss")
    ppo_epochs: int = Field(4, ge=1, description="entropic_ppo: passes over each batch")
    ppo_clip: float = Field(0.2, gt=0, description="entropic_ppo: how far a probability ratio may pull")
    kl_weight: float = Field(1.0, ge=0, description="entropic_ppo: 1 is exact soft policy iteration")
    log_pb_correction: bool = Field(
        True, description="policy_gradient: false shows the mistake of leaving log P_B out, P(x) ~ n(x) R(x)"
    )
    held_out: float = Field(
        0.05, ge=0, lt=1, description="prior: share of the known objects that is kept apart to measure likelihood on"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="prior: share of hidden units left out of each gradient")
    averaging: float = Field(
        0.99, ge=0, lt=1, description="prior: what is kept are averages over steps, each this share of the one before"
    )
    replay: ReplayConfig = ReplayConfig()
    local_search: LocalSearchConfig = LocalSearchConfig()
    warm_start: WarmStartConfig = WarmStartConfig()
    family: FamilyConfig = FamilyConfig()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_policy_gradient(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("kind") == "policy_gradient":
            return {"objective": "gae", "epsilon_start": 0.0} | data
        if isinstance(data, dict) and data.get("kind") == "prior":
            return {"objective": "maximum_likelihood", "epsilon_start": 0.0} | data
        return data

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> "SamplerConfig":
        learns = self.kind in OBJECTIVES
        known, built_in = registry.OBJECTIVES.names(), registry.OBJECTIVES.built_in
        own = self.kind == "gflownet" and self.objective in known and self.objective not in built_in
        if learns and not own and self.objective not in OBJECTIVES[self.kind]:
            raise ValueError(
                f"objective: expected one of {', '.join(OBJECTIVES[self.kind])} for kind {self.kind}, got "
                f"{self.objective}; one of your own needs --plugin FILE.py and kind gflownet"
            )
        if self.kind == "policy_gradient":
            on_policy = {
                "epsilon_start and epsilon_end to 0": self.epsilon_start == self.epsilon_end == 0,
                "epsilon_first to 0": self.epsilon_first == 0,
                "temperature_start and temperature_end to 1": self.temperature_start == self.temperature_end == 1,
                "replay.share to 0": self.replay.share == 0,
                "local_search.rounds to 0": self.local_search.rounds == 0,
                "warm_start.path to null": self.warm_start.path is None,
            }
            for keys, fits in on_policy.items():
                if not fits:
                    raise ValueError(
                        f"policy_gradient learns from its own draws alone: set {keys}, leave it out, or choose gflownet"
                    )
        if self.kind == "prior":
            if self.warm_start.path is None:
                raise ValueError("warm_start.path: a prior is fitted to known objects; name their file")
            if self.replay.share or self.local_search.rounds or self.family.kinds:
                raise ValueError("a prior is fitted to known objects alone: leave replay, local_search and family out")
            return self
        if self.kind in FROM_KNOWN and self.warm_start.path is None:
            raise ValueError(f"warm_start.path: {self.kind} changes known compounds; name their file")
        if self.warm_start.path is not None and self.replay.share == 0 and self.kind not in FROM_KNOWN:
            raise ValueError(
                "warm_start.path: known compounds enter through the buffer; set replay.share, such as 0.25"
            )
        if self.engine == "torchgfn" and self.kind != "gflownet":
            raise ValueError(f"engine: torchgfn trains gflownet, got kind {self.kind}; leave engine out")
        tempered = not self.temperature_start == self.temperature_end == 1
        if self.engine == "torchgfn" and (
            self.replay.share or self.local_search.rounds or tempered or self.epsilon_first
        ):
            raise ValueError(
                "engine: torchgfn trains without replay, local_search, temperature, epsilon_first here; leave them out"
            )
        return self

    @model_validator(mode="after")
    def _plugins_fit(self) -> "SamplerConfig":
        own = False
        for names, name, params in (
            (registry.POLICIES, self.policy, self.policy_params),
            (registry.OBJECTIVES, self.objective, self.objective_params),
        ):
            own = own or name not in names.built_in
            try:
                registry.check_params(names, name, params)
            except PluginError as error:
                raise ValueError(f"{names.word}: {error}") from None
        if self.engine == "torchgfn" and own:
            raise ValueError("engine: torchgfn trains built-in policies and objectives; leave engine out")
        return self

    @model_validator(mode="after")
    def _family_fits(self) -> "SamplerConfig":
        if not self.family.kinds:
            return self
        faults = {
            f"kind {self.kind} learns nothing; choose gflownet or policy_gradient": self.kind not in OBJECTIVES,
            "log_partition_variance compares the members of a batch, which must share one reward; choose another "
            "objective": self.objective == "log_partition_variance",
            "torchgfn trains for one reward; leave engine out": self.engine == "torchgfn",
            "replay.share: the buffer holds objects under one reward; leave it out": self.replay.share > 0,
            "local_search.rounds: it compares objects under one reward; leave it out": self.local_search.rounds > 0,
        }
        for fault, applies in faults.items():
            if applies:
                raise ValueError(f"family: {self.family.in_words} has many rewards, but {fault}, or leave family out")
        return self
