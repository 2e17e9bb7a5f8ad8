"""A run small enough for a test, and the verbs called in this process."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from oreflow.agent.cli import app

CONFIG = """
schema_version: 1
purpose: "a run small enough for a test; expect nothing of it"
world: {elements: [Li, Mn, O], n_elements: [1, 3], n_atoms: [1, 8], neutrality: soft}
reward:
  terms:
    - {name: charge_balance, shape: {kind: minimise, beta: 0.5}}
    - {name: formation_energy, shape: {kind: minimise, beta: 1.0}}
sampler: {steps: 40, batch: 32, hidden: [16]}
run: {threads: 1, log_every_steps: 10, checkpoint_every_steps: 20}
"""
PLUGIN = """
import numpy as np
from oreflow import rewards

@rewards.register("{name}")
class Term:
    \"\"\"Something of the user's own.\"\"\"
    name, unit, version, citations, requires = "{name}", "{unit}", "1", (), "composition"

    def __call__(self, batch):
        values = batch.n_elements.astype(float)
        return rewards.TermValues({values}, np.ones(len(batch), dtype=np.bool_), {{"spread": values / 7}})
"""


def oreflow(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> Any:
    result = oreflow(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(message: str, *arguments: object, code: int = 2) -> None:
    result = oreflow(*arguments)
    assert result.exit_code == code, result.output
    # typer wraps its own messages in a box
    assert message in " ".join(result.output.replace("│", " ").split()), result.output
    assert "Traceback" not in result.output


def plugin(tmp_path: Path, name: str = "mine", unit: str = "kg", values: str = "values") -> Path:
    path = tmp_path / f"{name}.py"
    path.write_text(PLUGIN.format(name=name, unit=unit, values=values))
    return path
