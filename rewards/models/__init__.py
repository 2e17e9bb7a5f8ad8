"""Fitted models of formation energies and other properties."""
