"""Formation energy of a crystal given as a space group and occupied Wyckoff positions, without coordinates."""
