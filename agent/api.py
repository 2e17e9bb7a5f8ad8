"""The Python interface: what the verbs of the command line do, as functions that return objects."""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from oreflow.agent.config.run import Config
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.loop import TrainingLine
    from oreflow.envs.objects.compositions import Compositions
    from oreflow.envs.objects.crystals import Crystals
    from oreflow.rewards.composite import Reward

PathLike = str | Path


class Run:
    """A trained run: a folder with a config, checkpoints and metrics.

    Args:
        path: the run folder.

    Raises:
        RunFolderError: when there is no run in the folder.
        ConfigError: when its config names rewards of plug-ins that have not been loaded.
    """

    def __init__(self, path: PathLike) -> None:
        from oreflow.agent.storage.run_folder import RunFolder

        self._folder = RunFolder(path)
        self._folder.load_config()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._folder.path

    @property
    def config(self) -> Config:
        """The resolved config, defaults filled in."""
        return self._folder.load_config()

    def metrics(self) -> pd.DataFrame:
        """Read the training's log: one row a line of metrics.jsonl, the column `step` first."""
        import pandas as pd

        return pd.read_json(self._folder.metrics_path, lines=True)

    def sample(self, n: int, **options: Any) -> pd.DataFrame:
        """Draw candidates; the same as `oreflow.sample(run, n, ...)`."""
        return sample(self, n, **options)

    def exact(self, **options: Any) -> dict[str, Any]:
        """Compare the sampler with R/Z; the same as `oreflow.exact(run, ...)`."""
        return exact(self, **options)


def train(
    config: PathLike | Mapping[str, Any] | Config,
    out: PathLike | None = None,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    plugins: Sequence[PathLike] = (),
    overwrite: bool = False,
    quiet: bool = True,
    callback: Callable[[TrainingLine], bool | None] | None = None,
) -> Run:
    """Train a sampler.

    Args:
        config: a YAML file, the same as nested mappings, or a `Config`.
        out: the run folder to write. None: a temporary folder that goes when the returned run is collected.
        overrides: texts "a.b=value", the value in YAML, as `--set` takes them.
        seed: root of all random streams; the config's by default.
        plugins: Python files that register rewards, worlds, policies or objectives.
        overwrite: whether a run that is in `out` is replaced.
        quiet: whether progress is kept off stderr.
        callback: called at each line of the log with step and figures; returning True stops the training after a
            checkpoint.

    Returns:
        The run, trained as far as its config says, or as far as it came when a signal or the
        callback stopped it.

    Raises:
        ConfigError: naming the key, what was expected and the nearest known key.
        RunFolderError: when `out` holds a run already, or cannot be written.
        RewardBudgetError: when too many objects have no valid reward.
        StartError: when no object of the world keeps to `start` or `near`.
    """
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.sampling.measure import measurement_of
    from oreflow.agent.storage.lock import RunLock
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train as run_training

    with StopFlag() as stop:
        loaded = _load_plugins(plugins)
        resolved, source = _config(config, overrides, seed)
        kernel, reward = make_checked(resolved, source)
        folder = RunFolder(tempfile.mkdtemp(prefix="oreflow-run-") if out is None else out)
        temporary = weakref.finalize(folder, shutil.rmtree, folder.path, ignore_errors=True) if out is None else None
        folder.check_place(overwrite)
        with RunLock(folder.path):
            folder.create(resolved, overwrite, loaded, reward.describe())
            measure = measurement_of(resolved, kernel)
            options: dict[str, Any] = {"stop": stop, "quiet": quiet, "callback": callback, "measure": measure}
            run_training(resolved, folder, kernel=kernel, reward=reward, **options)
    run = Run(folder.path)
    if temporary is not None:  # from here on the folder lives as long as what is returned
        temporary.detach()
        weakref.finalize(run, shutil.rmtree, folder.path, ignore_errors=True)
    return run


def sample(
    run: PathLike | Run,
    n: int,
    *,
    unique: bool = False,
    seed: int | None = None,
    max_draws: int | None = None,
    out: PathLike | None = None,
    overwrite: bool = False,
    reference: PathLike | Compositions | Crystals | None = None,
    beta: float | None = None,
    weights: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
    start: str | None = None,
    near: str | None = None,
    changes: int = 1,
    plugins: Sequence[PathLike] = (),
    quiet: bool = True,
) -> pd.DataFrame:
    """Draw candidates from a trained run.

    Args:
        run: a run folder, what `train` returned, or the name of a prior that ships: "compositions", "decorations".
        n: how many candidates.
        unique: whether rows are distinct and ranked by log R (the column `rank`; the first thirty rows are spread over
            chemistries); otherwise they are the raw draws in order.
        seed: root of the random stream; the config's by default.
        max_draws: how many draws at most; 100 n by default.
        out: a folder for the candidates' files. None: nothing is written.
        overwrite: whether they may replace earlier candidates in `out`; other files stay in any case.
        reference: known compounds, for the column `is_novel`: a file, or the objects themselves.
        beta, weights, target: the member of a family of rewards to sample under; weights and the value of a target by
            the names of their terms.
        start: a partial object that all rows complete, such as "Li3 P S4 ?" or "221: Sr@1a Ti ?".
        near: an object from which all rows differ by one change at least and `changes` at most.
        plugins: Python files that register the run's own rewards.
        quiet: whether progress is kept off stderr.

    Returns:
        One row a candidate, with all columns; `attrs["summary"]` holds what summary.json does.

    Raises:
        RunFolderError, CheckpointError: when there is no run, or its checkpoint is damaged.
        RewardBudgetError: when too many objects have no valid reward.
    """
    import pandas as pd

    from oreflow.agent.sampling.sample import sample as draw_candidates
    from oreflow.agent.storage.shipped_priors import shipped_names
    from oreflow.agent.tables.known_crystals import read_known

    _load_plugins(plugins)
    known = read_known(reference)[0] if isinstance(reference, str | Path) else reference
    with contextlib.ExitStack() as stack:
        if out is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oreflow-sample-")))
        else:
            folder = Path(out)
        summary = draw_candidates(
            str(run) if str(run) in shipped_names() and not Path(str(run)).exists() else _folder_of(run),
            n,
            out=folder,
            seed=seed,
            unique=unique,
            overwrite=overwrite,
            max_draws=max_draws,
            reference=known,
            quiet=quiet,
            beta=beta,
            weights=weights,
            target=target,
            start=start,
            near=near,
            changes=changes,
        )
        candidates = pd.read_parquet(folder / "candidates.parquet")
    candidates.attrs["summary"] = summary
    return candidates


def score(
    objects: str | Sequence[str] | Path | Crystals,
    rewards: Sequence[str] = (),
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    reward: Reward | None = None,
    oxidation_table: Any = None,
    mixed_valence: bool = False,
    plugins: Sequence[PathLike] = (),
) -> pd.DataFrame:
    """Evaluate rewards of given formulas or structures.

    Args:
        objects: a formula, formulas, a `Path` of a table of formulas or of structures, or crystals.
        rewards: names of reward terms; balance of charge and electronegativity, and formation energy by default.
        params: parameters of those terms, by the term's name.
        reward: instead of `rewards`, a whole reward as `build_reward` makes it; adds `log_reward`.
        oxidation_table, mixed_valence: the rule of the balance terms.
        plugins: Python files that register rewards, worlds, policies or objectives.

    Returns:
        One row an object, in order. What cannot be read or judged keeps its row and says why in `note`.

    Raises:
        UnknownRewardError: naming the nearest reward.
        TableError: when a file cannot be read.
    """
    from oreflow.agent.evaluation.scoring import score_crystals, score_formulas
    from oreflow.agent.tables.formulas import formulas_of, read_table
    from oreflow.agent.tables.known_crystals import holds_crystals, read_crystals
    from oreflow.envs.objects.crystals import Crystals

    _load_plugins(plugins)
    given: dict[str, Any] = {name: dict(values) for name, values in (params or {}).items()}
    options: dict[str, Any] = {
        "params": given,
        "reward": reward,
        "table": oxidation_table,
        "mixed_valence": mixed_valence,
    }
    if isinstance(objects, Crystals):
        return score_crystals(objects, [str(i) for i in range(len(objects))], list(rewards), **options)
    if isinstance(objects, Path):
        if holds_crystals(objects):
            crystals, labels, _ = read_crystals(objects)
            return score_crystals(crystals, labels, list(rewards), **options)
        return score_formulas(formulas_of(read_table(objects), str(objects)), list(rewards), **options)
    texts = [objects] if isinstance(objects, str) else list(objects)
    return score_formulas(texts, list(rewards), **options)


def exact(
    config_or_run: PathLike | Mapping[str, Any] | Config | Run,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    beta: float | None = None,
    weights: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
    step: int | None = None,
    draws: int | None = None,
    plugins: Sequence[PathLike] = (),
    quiet: bool = True,
) -> dict[str, Any]:
    """Compare a trained sampler with R/Z: exactly where the world can be enumerated, on draws elsewhere.

    Args:
        config_or_run: a trained run; or a config, which is trained first, in a temporary folder.
        overrides, seed: as `train` takes them; for a config only.
        beta, weights, target: the member of a family of rewards that is meant, as `sample` takes them.
        step: whose checkpoint is measured, of a trained run; the newest by default.
        draws: for the bracket of log Z, of each space group where their shares are prescribed; by default 8192 in all
            where the world cannot be enumerated, and none elsewhere.
        plugins: Python files that register rewards, worlds, policies or objectives.
        quiet: whether progress is kept off stderr.

    Returns:
        Figures by name: `agent.sampling.against_target.compare_with_target` lists them.

    Raises:
        ValueError: when the sampler has no probabilities, or a config's world cannot be enumerated.
        RunFolderError: when the run keeps no checkpoint of the step; naming those that it has.
    """
    from oreflow.agent.learners.families.conditions import choose
    from oreflow.agent.sampling.against_target import check_has_probabilities, compare_with_target
    from oreflow.agent.sampling.trained_run import load_run
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train as run_training

    loaded = _load_plugins(plugins)
    if isinstance(config_or_run, Run) or (isinstance(config_or_run, str | Path) and Path(config_or_run).is_dir()):
        folder = _folder_of(config_or_run)
        return compare_with_target(
            load_run(folder, beta=beta, weights=weights, target=target, step=step), str(folder.path), draws
        )
    if step is not None:
        raise ValueError(f"step {step}: a config is trained to its end first; leave the step out, or give a run folder")
    resolved, source = _config(config_or_run, overrides, seed)
    check_has_probabilities(resolved, source)  # before any work
    choose(resolved, beta, weights, target)
    kernel, reward = make_checked(resolved, source)
    reason = kernel.enumeration_unavailable_reason
    if reason:
        raise ValueError(f"this world cannot be enumerated: {reason}; train a run, and give its folder")
    with tempfile.TemporaryDirectory(prefix="oreflow-exact-") as scratch:
        folder = RunFolder(Path(scratch) / "run")
        folder.create(resolved, overwrite=False, plugins=loaded)
        run_training(resolved, folder, kernel=kernel, reward=reward, quiet=quiet)
        return compare_with_target(load_run(folder, beta=beta, weights=weights, target=target), source, draws)


def _load_plugins(paths: Sequence[PathLike]) -> list[str]:
    """Run plug-in files, and return all that have been run so far: any of them may have registered what a run uses."""
    from oreflow.rewards.registry import load_plugin, plugin_files

    for path in paths:
        load_plugin(Path(path))
    return [str(path) for path in plugin_files()]


def _folder_of(run: PathLike | Run) -> RunFolder:
    from oreflow.agent.storage.run_folder import RunFolder

    return run._folder if isinstance(run, Run) else RunFolder(run)


def _config(
    config: PathLike | Mapping[str, Any] | Config, overrides: Sequence[str], seed: int | None
) -> tuple[Config, str]:
    """A resolved config, and what it is called in messages."""
    from oreflow.agent.config.run import Config, load_config, override_config, validate_config

    if isinstance(config, str | Path):
        return load_config(config, list(overrides), seed), str(config)
    if isinstance(config, Config):
        data = config.model_dump(mode="json", exclude_unset=True)
    else:
        data = copy.deepcopy(dict(config))
    data.setdefault("schema_version", 1)
    return validate_config(override_config(data, list(overrides), seed), "the config"), "the config"
