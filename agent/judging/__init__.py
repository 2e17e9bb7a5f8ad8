"""Judging sampled crystals honestly: stable, unique, novel, valid, with what each figure was measured by."""
