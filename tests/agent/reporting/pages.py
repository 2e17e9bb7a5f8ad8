"""What stands in a report, taken apart again."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CONFIG = """
schema_version: 1
purpose: "a <b>small</b> run & nothing else"
world: {elements: [Li, Mn, O, S], n_elements: [1, 3], n_atoms: [1, 8], neutrality: soft}
reward:
  terms:
    - {name: charge_balance, shape: {kind: below, threshold: 1.0, width: 0.5}}
    - {name: formation_energy, shape: {kind: below, threshold: -1.0, width: 0.3}}
    - {name: complexity, shape: {kind: minimise, beta: 0.1}}
    - {name: electronegativity_balance, shape: {kind: verdict, log_penalty: 1.0}}
sampler: {steps: 40, batch: 32, hidden: [16]}
run: {threads: 1, log_every_steps: 10, measure_every: 20, checkpoint_every_steps: 40}
"""


def data_of(page: Path) -> dict[str, Any]:
    """The packed data of a page: `tables`, `figures`, `structures`."""
    found = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def words_of(page: Path) -> str:
    """The page without scripts, styles and packed data."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", text, flags=re.DOTALL)


def cells(text: str) -> str:
    """Words of HTML without tags, spaces as one."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def large_table(path: Path, n: int) -> Path:
    """A table as `oreflow sample` writes it, of n rows; formulas repeat, numbers do not."""
    rng = np.random.default_rng(0)
    symbols = np.array(["Li", "Na", "K", "Mg", "Ca", "Ti", "Mn", "Fe", "Zn", "O", "S", "F", "Cl"])
    picked = rng.permuted(np.tile(np.arange(len(symbols)), (n, 1)), axis=1)[:, :3]
    counts = rng.integers(2, 9, (n, 3))
    formulas = ["".join(f"{symbols[z]}{k}" for z, k in zip(*row)) for row in zip(picked.tolist(), counts.tolist())]
    columns = {name: rng.normal(-2, 0.7, n) for name in ("formation_energy_per_atom_pred", "log_reward", "log_pf")}
    flags = {name: rng.random(n) < 0.7 for name in ("charge_neutral", "electronegativity_ok", "is_novel")}
    extra = {f"property_{i}": rng.normal(0, 10.0**i, n) for i in range(6)}
    ids = [f"c{i + 1:07d}" for i in range(n)]
    pd.DataFrame({"candidate_id": ids, "formula_reduced": formulas, **columns, **flags, **extra}).to_parquet(path)
    return path
