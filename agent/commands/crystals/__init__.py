"""Verbs on crystals one by one: geometries, relaxations, and structure files read and written."""
