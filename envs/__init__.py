"""What may be built, and how: transition kernels, exact masks, and the faces that other libraries use.

Importing this package registers `oreflow/Composition-v0` with Gymnasium, for `gymnasium.make` and `gymnasium.make_vec`.
"""

from gymnasium.envs.registration import register

register(
    id="oreflow/Composition-v0",
    entry_point="envs.single:make_composition_env",
    vector_entry_point="envs.vector:make_composition_vector_env",
)
