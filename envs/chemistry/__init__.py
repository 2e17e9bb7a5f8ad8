"""Elements, radii and oxidation states."""
