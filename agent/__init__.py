"""How to search: policies, objectives, rollout, training, evaluation, and the command line."""
