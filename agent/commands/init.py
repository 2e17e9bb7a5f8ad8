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
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """A commented config and a reward template to start from; existing files stay.

    Example: oreflow init my_search
    """
    from oreflow.agent.storage.atomic_files import write_text

    directory.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for name, template in (("config.yaml", "crystals.yaml" if crystals else "config.yaml"), ("my_reward.py",) * 2):
        target = directory / name
        if target.exists():
            kept.append(str(target))
            continue
        write_text(target, files("oreflow.agent").joinpath("templates", template).read_text(encoding="utf-8"))
        written.append(str(target))
    if as_json:
        print_json({"written": written, "kept": kept})
    elif not quiet:
        for path in written:
            print(f"wrote {path}")
        for path in kept:
            print(f"kept {path}, which was there already")
        config, plugin = directory / "config.yaml", directory / "my_reward.py"
        print(f"next: oreflow check {config} --plugin {plugin}")
        print(f"      oreflow train {config} --plugin {plugin} --out {directory / 'run'}")
    return DONE
