"""Verbs that draw, rate, choose and show candidates."""
