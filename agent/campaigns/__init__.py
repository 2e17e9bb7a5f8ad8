"""Rounds of drawing, screening, realising, relaxing and learning."""
