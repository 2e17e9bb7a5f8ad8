"""`worker`: answers the requests of a folder, in a job of any batch system."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oreflow.agent.commands.common import DONE, Plugins, Quiet, load_plugins, verb

if TYPE_CHECKING:
    from oreflow.rewards.executors.batch.serving import MakeWork


@verb
def worker(
    folder: Annotated[Path, typer.Argument(help="Folder of requests, as `run.executor.folder` names it.")],
    n: Annotated[
        int | None, typer.Option("-n", min=1, help="Answer at most so many; all that are open by default.")
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds without an open request after which it ends.")
    ] = 0.0,
    plugin: Plugins = None,
    quiet: Quiet = False,
) -> int:
    """Answer requests of the executor `files`, in a job of any batch system; any number of workers may do so.

    Each request is claimed by one worker. A crash or a hang of what is asked is an answer; a worker that is
    killed gives its request back.

    Example: oreflow worker /scratch/me/requests -n 1
    """
    from oreflow.rewards.executors.batch.serving import serve

    plugins = [str(Path(path).resolve()) for path in load_plugins(plugin)]
    n_done = serve(
        folder,
        works(plugins),
        n=n,
        wait_s=wait,
        told=(lambda text: None) if quiet else (lambda text: print(text, flush=True)),
    )
    if not quiet:
        print(f"{n_done} answered")
    return DONE


def works(plugins: list[str]) -> Mapping[str, "MakeWork"]:
    """What can be asked for, by kind; plug-in files are those that the worker was given, whatever a request says."""

    def reward(params: dict[str, Any]) -> Any:
        from oreflow.rewards.isolation.work import reward_work

        return reward_work(params["name"], params["params"], plugins)

    def relaxation(params: dict[str, Any]) -> Any:
        from oreflow.agent.relaxation.tracks import Settings
        from oreflow.agent.relaxation.work import relaxation_work

        return relaxation_work(Settings(**params["settings"] | {"plugins": tuple(plugins)}), params["time_limit_s"])

    def realisation(params: dict[str, Any]) -> Any:
        from oreflow.agent.realisation.geometries import Settings
        from oreflow.agent.realisation.run import realisation_work

        return realisation_work(Settings(**params))

    def training(params: dict[str, Any]) -> Any:
        from oreflow.agent.commands.training.seed_work import training_work

        return training_work(plugins)

    return {"training": training, "reward": reward, "relaxation": relaxation, "realisation": realisation}
