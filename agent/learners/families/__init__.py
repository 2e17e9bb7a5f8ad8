"""Families of rewards that one policy samples from: their kinds, and the member that is asked for."""
