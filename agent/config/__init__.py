"""The config of a run: typed, closed, validated, and how YAML becomes it."""
