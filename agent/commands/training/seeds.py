"""`train --seeds`: one config, several seeds, one run folder each."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreflow.agent.commands.common import DONE, STOPPED_BY_SIGNAL, print_json

if TYPE_CHECKING:
    from oreflow.agent.config.run import Config
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.rewards.executors.settings import ExecutorSettings

_PART = re.compile(r"(\d+)(?:-(\d+))?")
_MOST = 1000
_LOOK_S = 1.0


def parse_seeds(text: str) -> list[int]:
    """Read seeds and ranges of seeds, such as "0-4" or "0,2,7-9"; ascending, each once.

    Raises:
        ConfigError: for a text of another form, or more than 1000 seeds.
    """
    from oreflow.agent.errors import ConfigError

    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last - first >= _MOST:
            raise ConfigError(
                f"--seeds: expected numbers and ascending ranges, at most {_MOST}, such as 0-4 or 0,2,7, got {text!r}"
            )
        found.update(range(first, last + 1))
    return sorted(found)


def train_seeds(
    config: Path,
    out: Path,
    seeds: str,
    overrides: list[str],
    overwrite: bool,
    *,
    plugins: list[str],
    executor: "ExecutorSettings | None" = None,
    stop: "StopFlag",
    quiet: bool,
    as_json: bool,
) -> int:
    """Train `out/seed_N` for each seed, and return the exit code.

    Runs that were stopped go on, finished ones stay as they are, unless `overwrite` asks for all of them anew. All
    folders are looked at before any training starts.

    Raises:
        ConfigError: for seeds or a config that cannot be read.
        RunFolderError: when a run of another config is in one of the folders, or `out` is a run itself.
        CheckpointError: when the checkpoints of a run that is to go on are damaged.
    """
    from oreflow.agent.commands.training.one_run import go_on, report, start, summary
    from oreflow.agent.commands.training.seed_work import steps_done
    from oreflow.agent.config.run import dump_config, load_config
    from oreflow.agent.errors import RunFolderError
    from oreflow.agent.storage.run_folder import RunFolder

    if RunFolder(out).config_path.exists():
        raise RunFolderError(f"{out} holds a run itself; expected a folder for several, choose another --out")
    plan, texts = [], {}
    for seed in parse_seeds(seeds):
        resolved, folder = load_config(config, overrides, seed), RunFolder(out / f"seed_{seed}")
        text = dump_config(resolved, as_given=True)  # before anything is filled in, however far the run came
        done = None if overwrite else steps_done(resolved, str(config), folder)
        plan.append((seed, resolved, folder, done))
        texts[seed] = text
    if executor is not None:
        return _train_on(executor, plan, texts, str(config), out, overwrite, plugins, stop, quiet, as_json)
    summaries: list[dict[str, Any]] = []
    stopped = False
    for number, (seed, resolved, folder, done) in enumerate(plan, start=1):
        if done is not None and done >= resolved.sampler.steps:
            summaries.append({"run": str(folder.path), "seed": seed, "steps": done, "finished_before": True})
            if not (quiet or as_json):
                print(f"seed {seed}: {folder.path} is finished, {done} steps")
            continue
        if not quiet:
            print(f"seed {seed}, {number} of {len(plan)}: {folder.path}", file=sys.stderr)
        if done is None:
            anew = overwrite or folder.config_path.exists()  # begun, and stopped before its first checkpoint
            ended = start(resolved, str(config), folder.path, overwrite=anew, plugins=plugins, stop=stop, quiet=quiet)
        else:
            ended = go_on(resolved, folder.path, fall_back=True, stop=stop, quiet=quiet)
        stopped = ended.result.stopped_by is not None
        summaries.append({**summary(ended), "seed": seed, "finished_before": False})
        then = f"next: oreflow compare {out}" if number == len(plan) else "next: the following seed"
        report(ended, quiet or as_json, False, "the same command; finished runs stay as they are" if stopped else then)
        if stopped:
            break
    if as_json:
        print_json({"runs": summaries})
    return STOPPED_BY_SIGNAL if stopped else DONE


def _train_on(
    executor: "ExecutorSettings",
    plan: list[tuple[int, "Config", Any, int | None]],
    texts: dict[int, str],
    source: str,
    out: Path,
    overwrite: bool,
    plugins: list[str],
    stop: "StopFlag",
    quiet: bool,
    as_json: bool,
) -> int:
    """Train all seeds that are not finished on an executor, several at once; return the exit code.

    Raises:
        TrainingError: when seeds could not be trained; the others are.
    """
    import uuid

    from oreflow.agent.commands.common import n_cores
    from oreflow.agent.commands.training.seed_work import TIME_LIMIT_S, steps_done, training_task, training_work
    from oreflow.agent.errors import TrainingError
    from oreflow.rewards.executors.settings import make_executor

    summaries, tasks, failed = {}, {}, []
    for seed, config, folder, done in plan:
        if done is not None and done >= config.sampler.steps:
            summaries[seed] = {"run": str(folder.path), "seed": seed, "steps": done, "finished_before": True}
            continue
        nonce = uuid.uuid4().hex if overwrite else ""
        task = training_task(texts[seed], source, folder.path, nonce)
        tasks[task.id] = seed, config, folder, task
    threads = plan[0][1].run.threads
    work = training_work([str(Path(path).resolve()) for path in plugins])
    workers = max(n_cores() // threads, 1)
    crew = make_executor(executor, work, time_limit_s=TIME_LIMIT_S, workers=workers, n_threads=threads)
    try:
        crew.submit([task for _, _, _, task in tasks.values()])
        while tasks and not stop.raised:
            for answer in crew.collect(_LOOK_S):
                if answer.id not in tasks:
                    continue
                seed, config, folder, _ = tasks.pop(answer.id)
                if answer.kind != "done":
                    failed.append(f"seed {seed}: {answer.reason}")
                    continue
                if steps_done(config, source, folder) != config.sampler.steps:
                    failed.append(
                        f"seed {seed}: it was answered that {folder.path} is trained, which it is not; is that folder "
                        "on a disk that the workers share? Add --overwrite to train it anew"
                    )
                    continue
                summaries[seed] = {**answer.value, "seed": seed, "finished_before": False}
                if not (quiet or as_json):
                    print(f"seed {seed}: {folder.path} is trained, {answer.value['steps']} steps")
    finally:
        crew.close()
    if as_json:
        print_json({"runs": [summaries[seed] for seed in sorted(summaries)]})
    if failed:
        raise TrainingError("; ".join(failed) + "; the same command tries these again, finished runs stay as they are")
    if tasks:
        print(f"stopped by {stop.raised}; {len(tasks)} seeds are left, go on with: the same command", file=sys.stderr)
        return STOPPED_BY_SIGNAL
    if not (quiet or as_json):
        print(f"next: oreflow compare {out}")
    return DONE
