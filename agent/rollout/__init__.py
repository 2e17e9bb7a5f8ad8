"""From states to trajectories: drawing actions, stepping the kernel, collecting ragged arrays."""
