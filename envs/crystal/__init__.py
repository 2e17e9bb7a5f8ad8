"""The world of crystals: space group, elements on Wyckoff positions, lattice and coordinates."""
