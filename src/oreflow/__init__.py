"""Design inorganic materials: sample compositions and crystals in proportion to a reward.

`oreflow.envs` says what may be built, `oreflow.rewards` what is worth building, `oreflow.agent` how to search.
"""

import os

# The threads of torch and numba would otherwise spin while they wait for one another. On a machine that has other work
# this costs a factor of twenty and more; OpenMP reads the setting when the first library that uses it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
