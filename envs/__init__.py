"""What may be built, and how: transition kernels, exact masks, and the faces that other libraries use.

Importing this package registers `oreflow/Composition-v0` and `oreflow/Wyckoff-v0` with Gymnasium, for
`gymnasium.make` and `gymnasium.make_vec`.
"""

import os

from gymnasium.envs.registration import register

# The threads that compute masks would otherwise spin while they wait for one another: on a machine that has other work
# this costs a factor of five to twenty. OpenMP reads the setting when the first library that uses it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

register(
    id="oreflow/Composition-v0",
    entry_point="envs.single:make_composition_env",
    vector_entry_point="envs.vector:make_composition_vector_env",
)
register(
    id="oreflow/Wyckoff-v0",
    entry_point="envs.wyckoff_faces:make_wyckoff_env",
    vector_entry_point="envs.wyckoff_faces:make_wyckoff_vector_env",
)
