"""Files of a run: folder, checkpoints, locks, atomic writes, provenance."""
