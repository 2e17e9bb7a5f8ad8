"""Known compounds and the convex hull over them."""
