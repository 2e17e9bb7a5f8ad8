"""Verbs that make run folders, and say how close they come to R/Z."""
