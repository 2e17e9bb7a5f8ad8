"""Tasks of the literature, one module each: its docstring is the protocol, `table` shows its record."""
