"""Rewards of a composition."""
