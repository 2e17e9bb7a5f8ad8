"""The rewards themselves: one file a reward."""
