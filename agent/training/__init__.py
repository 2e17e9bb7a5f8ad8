"""A training run from its parts to its end: build, loop, metrics, resume."""
