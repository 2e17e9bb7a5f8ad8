"""Energies, forces and relaxations by a machine-learned interatomic potential (the optional extra `chgnet`)."""
