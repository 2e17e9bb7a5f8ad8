"""Bins of the lattice and of the free coordinates."""
