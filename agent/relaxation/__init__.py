"""Relaxing candidate structures with an interatomic potential, in parallel and resumably: the verb `relax`."""
