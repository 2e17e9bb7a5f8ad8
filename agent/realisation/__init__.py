"""From decorations to geometries: cell and free coordinates found together, ranked and written."""
