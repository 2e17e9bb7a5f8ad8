"""Judging samplers and candidates: exact distributions, metrics, hypervolume, scores."""
