"""The process itself: seeds, signals, progress."""
