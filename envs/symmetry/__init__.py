"""Space groups, Wyckoff positions, lattices, normalizers and canonical labelings."""
