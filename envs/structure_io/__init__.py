"""Structures in files and in other libraries' objects."""
