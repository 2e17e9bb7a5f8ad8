"""Training algorithms: what one step learns from a batch of trajectories."""
