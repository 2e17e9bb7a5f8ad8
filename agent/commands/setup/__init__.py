"""Verbs that come before a run: what there is, a config to begin with, a try of it, and code compiled ahead."""
