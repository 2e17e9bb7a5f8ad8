"""Rewards of predicted energies and properties."""
