"""Samplers without a network: random choices, Metropolis-Hastings, a genetic algorithm, local search."""
