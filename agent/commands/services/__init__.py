"""Verbs for what several runs share: the reward store, and workers that answer requests."""
