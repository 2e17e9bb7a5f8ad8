"""The run folder: where a run's config, provenance, metrics and checkpoints live."""

import contextlib
import errno
import json
import os
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from oreflow.agent.config.run import Config, dump_config, load_config, with_later_parameters
from oreflow.agent.config.strict_yaml import parse_yaml
from oreflow.agent.errors import ConfigError, RunFolderError
from oreflow.agent.storage.atomic_files import replacing, to_json, write_text
from oreflow.agent.storage.checkpoint import list_checkpoints, sweep
from oreflow.agent.storage.lock import LOCK_FILES
from oreflow.agent.storage.manifest import remove_own
from oreflow.agent.storage.provenance import git_commit, package_versions, provenance
from oreflow.envs.registry import WORLDS
from oreflow.rewards.registry import names, plugin_files

# What version 0.4 wrote, without a list of it.
_SAMPLES_OF_04 = ("candidates.csv", "candidates.parquet", "summary.json", "structures.extxyz")
_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")  # as `files.replacing` names them


class RunFolder:
    """A run on disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def config_path(self) -> Path:
        """Give the file of the resolved config."""
        return self.path / "config.resolved.yaml"

    @property
    def provenance_path(self) -> Path:
        """Give the file that says where the run came from."""
        return self.path / "provenance.json"

    @property
    def metrics_path(self) -> Path:
        """Give the file of the metrics, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def reward_failures_path(self) -> Path:
        """Give the file of objects whose reward failed, one JSON object a line."""
        return self.path / "reward_failures.jsonl"

    @property
    def timings_path(self) -> Path:
        """What the clock said; apart from the metrics, which repeat exactly."""
        return self.path / "timings.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Give the folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Give the folder that candidates are written to by default."""
        return self.path / "samples"

    def free_samples(self, overwrite: bool) -> Path:
        """Give the folder for further candidates: the first of samples, samples_2, … that holds none."""
        number = 1
        while True:
            folder = self.samples if number == 1 else self.path / f"samples_{number}"
            if overwrite or not (folder / "candidates.csv").exists():
                return folder
            number += 1

    def check_place(self, overwrite: bool) -> None:
        """Whether a run may be made here, as far as can be told without writing anything.

        Raises:
            RunFolderError: when `overwrite` is on and the folder holds something else than a run, or when the path is
                too long.
        """
        # The longest that training will write there, so that it does not fail at its first checkpoint.
        longest = self.checkpoints / ".tmp_step_00000000_unwanted" / "optimizer.safetensors"
        try:
            with contextlib.suppress(FileNotFoundError):
                longest.lstat()
            foreign = overwrite and not self.config_path.exists() and self.path.is_dir() and self._holds_files()
        except OSError as error:
            raise self._unwritable(error) from None
        if foreign:
            raise RunFolderError(f"{self.path} holds files, but no run to overwrite; choose another --out")

    def create(self, config: Config, overwrite: bool, plugins: list[str], reward: dict[str, Any] | None = None) -> None:
        """Makes the folder and writes config and provenance.

        Args:
            config: as the run uses it, defaults filled in.
            overwrite: whether an earlier run in the folder is removed.
            plugins: files that the rewards come from.
            reward: `Reward.describe()`: which versions of the terms and of their data.

        Raises:
            RunFolderError: when a run is there already and `overwrite` is off, when `overwrite` is on and the folder
                holds something else than a run, or when the place cannot be written.
            OSError: when the disk is full; an earlier run is as it was.
        """
        self.check_place(overwrite)
        if self.config_path.exists() and not overwrite:
            raise RunFolderError(f"{self.path} holds a run already; choose another --out, or add --overwrite")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.sweep()
            with replacing(self.config_path, self.provenance_path) as (config_file, provenance_file):
                config_file.write_text(dump_config(config), encoding="utf-8")
                record = provenance(config, plugins) | {"reward": reward}
                provenance_file.write_text(to_json(record), encoding="utf-8")
                if overwrite:
                    self._clear()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> RunFolderError:
        return RunFolderError(f"cannot write the run folder {self.path}: {error.strerror}; choose another --out")

    def _holds_files(self) -> bool:
        """Whether there is anything but a lock and what a killed process left of a file."""
        return any(path.name not in LOCK_FILES and not _UNFINISHED.fullmatch(path.name) for path in self.path.iterdir())

    def sweep(self) -> None:
        """Removes what killed processes left of files. The caller holds the run's lock."""
        for path in self.path.iterdir():
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Removes what an earlier run left; nothing that a run does not write itself."""
        if self.checkpoints.is_dir():
            sweep(self.checkpoints)
            for path in self.checkpoints.glob("step_*"):
                shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.checkpoints.rmdir()
        for folder in (self.samples, *sorted(self.path.glob("samples_*"))):
            cifs = [f"cif/{path.name}" for path in (folder / "cif").glob("c???????.cif")]
            remove_own(folder, [*_SAMPLES_OF_04, *LOCK_FILES, *cifs])
        remove_own(self.path / "eval", ["metrics.json"])
        remove_own(self.path / "report", LOCK_FILES)
        for path in self._logs():
            path.unlink(missing_ok=True)

    def _logs(self) -> list[Path]:
        return [self.metrics_path, self.timings_path, self.reward_failures_path]

    def log_sizes(self) -> dict[str, int]:
        """Bytes of each log, which a checkpoint remembers."""
        return {path.name: path.stat().st_size for path in self._logs() if path.exists()}

    def cut_logs(self, sizes: dict[str, int]) -> None:
        """Drops what was logged after a checkpoint, given its `log_sizes`."""
        for path in self._logs():
            if path.exists():
                os.truncate(path, min(sizes.get(path.name, 0), path.stat().st_size))

    def note_resumption(self, step: int) -> None:
        """Adds to the provenance that the run went on from a step, when, and with which command and versions.

        Raises:
            RunFolderError: when the provenance cannot be read.
        """
        record = self._provenance()
        entry = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_step": step,
            "command": sys.argv,
            "versions": package_versions(),
            "git_commit": git_commit(),
        }
        record["resumed"] = [*record.get("resumed", []), entry]
        write_text(self.provenance_path, to_json(record))

    def _provenance(self) -> dict[str, Any]:
        try:
            record = json.loads(self.provenance_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise RunFolderError(f"{self.provenance_path} cannot be read; restore it, or remove it to go on without")
        return record

    def load_config(self, overrides: list[str] | None = None) -> Config:
        """The resolved config of an existing run.

        Args:
            overrides: texts "a.b=value".

        Raises:
            RunFolderError: when there is no run here.
            ConfigError: when its config is not valid, or names rewards or a world of plug-ins that are not there.
        """
        if not self.config_path.is_file():
            raise RunFolderError(f"expected a run folder, found no config.resolved.yaml in {self.path}; train first")
        self._world_is_there()
        loaded = {path.resolve() for path in plugin_files()}
        missing = [path for path in self._provenance().get("plugins", []) if Path(path).resolve() not in loaded]
        try:
            config = with_later_parameters(load_config(self.config_path, overrides), new=False)
        except ConfigError as error:
            if missing and "needs --plugin FILE.py" in str(error):  # a policy or objective that is not installed
                add = " ".join(f"--plugin {path}" for path in missing)
                raise ConfigError(f"{error}. The run was trained with a plug-in; add {add}") from None
            raise
        unknown = [term.name for term in config.reward.terms if term.name not in names()]
        if unknown and missing:
            raise ConfigError(
                f"{self.config_path}: the run was trained with rewards of its own ({', '.join(unknown)}); add "
                + " ".join(f"--plugin {path}" for path in missing)
            )
        return config

    def _world_is_there(self) -> None:
        """Whether the world that the run was trained in is known; which comes before all that its config says.

        Raises:
            ConfigError: naming the world, where it came from, and the remedy.
        """
        data = parse_yaml(self.config_path.read_text(encoding="utf-8"), str(self.config_path))
        world = data.get("world") if isinstance(data, dict) else None
        kind = world.get("kind") if isinstance(world, dict) else None
        if not isinstance(kind, str) or kind in WORLDS.names():
            return
        record = self._provenance()
        files = record.get("plugins", [])
        origin = record.get("world", {}).get("from", "a plug-in")
        remedy = f"install that package again ({origin})" if origin.startswith("entry point") else "add the --plugin"
        if files:
            absent = [path for path in files if not Path(path).is_file()]
            remedy = "add " + " ".join(f"--plugin {path}" for path in files)
            if absent:
                remedy += f", wherever {', '.join(absent)} is now"
        raise ConfigError(
            f"{self.config_path}: the run was trained in the world {kind!r}, which is not installed here; it came from "
            f"{origin}: {remedy}. Nothing of the run is lost"
        )

    def latest_checkpoint(self) -> Path:
        """The newest complete checkpoint.

        Raises:
            RunFolderError: when there is none.
        """
        found = list_checkpoints(self.checkpoints)
        if not found:
            raise RunFolderError(
                f"{self.path} has no complete checkpoint yet; let the training reach its first one, or train anew with "
                "--overwrite"
            )
        return found[-1]

    def checkpoint_of(self, step: int) -> Path:
        """Find the complete checkpoint of a step.

        Raises:
            RunFolderError: when the run does not keep it; naming the steps that are there.
        """
        self.latest_checkpoint()
        found = {int(path.name.removeprefix("step_")): path for path in list_checkpoints(self.checkpoints)}
        if step not in found:
            steps = [str(number) for number in found]
            shown = ", ".join(steps if len(steps) <= 12 else [*steps[:6], "…", *steps[-5:]])
            raise RunFolderError(
                f"{self.path} has no checkpoint of step {step}; expected one of {shown}. A run keeps the newest "
                "run.keep_checkpoints of them, one each run.checkpoint_every_steps steps: train with more, or with "
                "run.measure_every, which writes such figures down as it goes"
            )
        return found[step]
