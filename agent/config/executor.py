"""The section `run.executor` of a config, which the option `--executor` of other verbs takes, too."""

from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from oreflow.agent.config.closed_model import Closed
from oreflow.agent.config.strict_yaml import parse_yaml
from oreflow.agent.errors import ConfigError
from oreflow.envs.suggestions import nearest
from oreflow.rewards.executors.settings import EXECUTORS, ExecutorKind, ExecutorSettings


class ExecutorConfig(Closed):
    """Where dear work is done."""

    kind: ExecutorKind = Field(
        "local", description="local: processes here; ray: a cluster; files: a batch system's jobs"
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="tasks at once, at most; null: local as many as the term or --workers says, ray all CPUs",
    )
    retries: int | None = Field(
        None, ge=0, description="how often what crashed or hung is tried again; null: 0 with local, else 1"
    )
    address: str | None = Field(None, description="ray: HOST:PORT of a cluster; null starts one for the run")
    folder: str | None = Field(None, description="files: where requests and answers lie")
    submit: str | None = Field(
        None,
        description="files: a command to run after new requests were written, such as sbatch --array=0-{last} job.sh; "
        "null: somebody else starts workers",
    )

    @model_validator(mode="after")
    def _keys_belong_to_the_kind(self) -> "ExecutorConfig":
        for key, kind in (("address", "ray"), ("folder", "files"), ("submit", "files")):
            if getattr(self, key) is not None and self.kind != kind:
                raise ValueError(f"{key} is for kind {kind}, got kind {self.kind}; change the kind, or leave {key} out")
        if self.kind == "files":
            if self.folder is None:
                raise ValueError("kind files needs folder, where requests and answers lie")
            self.folder = str(Path(self.folder).absolute())  # a run is used from any folder
        return self

    def settings(self) -> ExecutorSettings:
        """What `oreflow.rewards.executors` makes an executor of."""
        return ExecutorSettings(**self.model_dump())


def executor_of(text: str | None) -> ExecutorSettings | None:
    """Read `--executor`: the word local or ray, or a YAML file with the keys of `run.executor`.

    Raises:
        ConfigError: naming the key, and what was expected.
    """
    if text is None:
        return None
    if text in EXECUTORS:
        data, source = {"kind": text}, f"--executor {text}"
    else:
        source = text
        if not text.endswith((".yaml", ".yml")):
            raise ConfigError(
                f"expected --executor to be {', '.join(EXECUTORS)} or a YAML file with the keys of run.executor, got "
                f"{text!r}; {nearest(text, EXECUTORS)}"
            )
        try:
            data = parse_yaml(Path(text).read_text(encoding="utf-8-sig"), text)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"cannot read {text}: {reason}") from None
        if not isinstance(data, dict):
            raise ConfigError(f"{text}: expected the keys {', '.join(ExecutorConfig.model_fields)}, got {data!r}")
    try:
        return ExecutorConfig.model_validate(data).settings()
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_explain(fault) for fault in error.errors())) from None


def _explain(fault: dict | object) -> str:
    assert isinstance(fault, dict)
    location = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown key {location}; {nearest(location, ExecutorConfig.model_fields)}"
    said = fault["msg"].removeprefix("Value error, ")
    return f"{location}: {said}, got {str(fault['input'])[:60]!r}" if location else said
