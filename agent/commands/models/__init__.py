"""Verbs that fit a model to known compounds: properties, energies, and samplers that serve as priors."""
