"""Where a result came from: versions of packages, commit, command, machine."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from oreflow.agent.config.run import Config
from oreflow.envs.registry import WORLDS

_PACKAGES = ("oreflow", "torch", "numpy", "numba", "gymnasium", "pymatgen", "pydantic", "safetensors", "pandas")


def provenance(config: Config, plugins: list[str]) -> dict[str, Any]:
    """What made a result: versions, machine, command, code state."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "versions": package_versions(),
        "git_commit": git_commit(),
        "seed": config.seed,
        "threads": config.run.threads,
        "plugins": plugins,
        "world": {"kind": config.world.kind, "from": WORLDS.origin(config.world.kind)},
    }


def package_versions() -> dict[str, str | None]:
    """Look up the installed versions of oreflow and of what its numbers depend on; None for what is missing."""
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def git_commit() -> str | None:
    """Read the commit of the source tree, "-dirty" appended when it differs; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-dirty" if status.strip() else "")
