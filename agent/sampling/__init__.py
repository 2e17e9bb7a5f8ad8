"""Drawing candidates from a trained run, and summing up what came."""
