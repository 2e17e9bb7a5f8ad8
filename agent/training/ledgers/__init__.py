"""Accounts of the rewards that a training asks for: how many, which failed and why, and which are still to come."""
