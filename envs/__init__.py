"""What may be built, and how: transition kernels, exact masks, and the faces that other libraries use.

Importing this package registers `oreflow/Composition-v0` and `oreflow/Wyckoff-v0` with Gymnasium, for
`gymnasium.make` and `gymnasium.make_vec`.
"""

from oreflow.envs.faces.registration import register_envs

register_envs()
