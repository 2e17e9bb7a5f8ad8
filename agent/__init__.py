"""How to search: policies, objectives, rollout, training, evaluation, and the command line."""

import os

# torch's and numba's threads would otherwise spin while they wait for one another. On a machine that has other work
# this costs a factor of twenty and more; OpenMP reads the setting when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
