"""What is built: compositions, crystals, atoms, and their names."""
