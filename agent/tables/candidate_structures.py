"""Structure files beside a candidate table: all crystals as extended XYZ, and the first of them as CIFs."""

from pathlib import Path

import pyarrow.parquet as pq

from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.envs.structure_io.writers import cif_text, write_extxyz

N_CIFS = 1000  # a folder of more is a burden; `oreflow export` writes as many as one likes
_ROWS = 2000
_COLUMNS = (
    "formula_reduced",
    "space_group_number",
    "wyckoff_label",
    "log_reward",
    "formation_energy_per_atom_pred",
    "formation_energy_std",
)


def write_structures(parquet: Path, extxyz: Path, cifs: Path) -> None:
    """Writes the crystals of a table, in its order, under its ids; the cells are conventional ones.

    Args:
        parquet: a candidate table; every row has a geometry.
        extxyz: new file.
        cifs: new folder, with at most N_CIFS files called after the ids.
    """
    extxyz.write_text("", encoding="utf-8")
    cifs.mkdir()
    n = 0
    file = pq.ParquetFile(parquet)
    columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
    for batch in file.iter_batches(_ROWS, columns=["candidate_id", "structure", *columns]):
        rows = batch.to_pydict()
        crystals = crystal_from_text(rows["structure"])
        ids = rows["candidate_id"]
        write_extxyz(extxyz, crystals, ids, {name: rows[name] for name in columns}, append=True)
        wanted = slice(0, max(N_CIFS - n, 0))
        for name, text in zip(ids[wanted], cif_text(crystals[wanted], ids[wanted])):
            (cifs / f"{name}.cif").write_text(text, encoding="utf-8")
        n += len(ids)
