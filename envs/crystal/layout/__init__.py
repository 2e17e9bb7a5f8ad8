"""Columns of a state: what stands where, how far it has come, and the crystal it describes."""
