"""What a reward term is, and how its answers are obtained, guarded and remembered."""
