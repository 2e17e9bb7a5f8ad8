"""Verbs that go through several others in a row."""
