"""Can a partial decoration still be finished? Exact sums, stoichiometry and search."""
