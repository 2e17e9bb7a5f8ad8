"""Gymnasium ids of oreflow's environments."""


def register_envs() -> None:
    """Register `oreflow/Composition-v0` and `oreflow/Wyckoff-v0` with Gymnasium.; a second call changes nothing.

    Importing `oreflow.envs` calls it.
    """
    from gymnasium.envs.registration import register, registry

    for name, kind in (("oreflow/Composition-v0", "composition"), ("oreflow/Wyckoff-v0", "wyckoff")):
        if name not in registry:
            register(
                id=name,
                entry_point=f"oreflow.envs.faces.make:make_{kind}_env",
                vector_entry_point=f"oreflow.envs.faces.make:make_{kind}_vector_env",
            )
