"""`oreflow init`: a commented config and a template of a reward."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from oreflow.agent.commands.common import DONE, AsJson, Quiet, print_json, verb


@verb
def init(
    directory: Annotated[Path, typer.Argument(help="Folder to write into.")],
    crystals: Annotated[bool, typer.Option("--crystals", help="A config of crystals, not of formulas.")] = False,
    from_: Annotated[
        str | None, typer.Option("--from", help="Start from a config that ships, such as perovskites.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """A commented config and a reward template to start from; existing files stay.

    Example: oreflow init my_search
    Example: oreflow init my_search --from perovskites
    """
    from oreflow.agent.config.shipped import shipped_config
    from oreflow.agent.errors import ConfigError
    from oreflow.agent.storage.atomic_files import write_text

    if crystals and from_ is not None:
        raise ConfigError(f"--crystals beside --from {from_}: expected one of them; leave one out")
    templates = files("oreflow.agent").joinpath("templates")
    if from_ is None:
        config_text = templates.joinpath("crystals.yaml" if crystals else "config.yaml").read_text(encoding="utf-8")
    else:
        config_text = shipped_config(from_).read_text(encoding="utf-8")
    reward_text = templates.joinpath("my_reward.py").read_text(encoding="utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for name, text in (("config.yaml", config_text), ("my_reward.py", reward_text)):
        target = directory / name
        if target.exists():
            kept.append(str(target))
            continue
        write_text(target, text)
        written.append(str(target))
    if as_json:
        print_json({"written": written, "kept": kept})
    elif not quiet:
        for path in written:
            print(f"wrote {path}")
        for path in kept:
            print(f"kept {path}, which was there already")
        config, plugin = directory / "config.yaml", directory / "my_reward.py"
        with_plugin = f" --plugin {plugin}" if from_ is None else ""  # a config that ships does not ask for its reward
        print(f"next: oreflow check {config}{with_plugin}")
        print(f"      oreflow train {config}{with_plugin} --out {directory / 'run'}")
    return DONE
