"""The nearest charge-neutral formula of any formula or element fractions: exactly, and by Metropolis-Hastings."""
