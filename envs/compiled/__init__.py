"""Tools of compiled code: numba with a safe cache, bitsets, blocks of rows."""
