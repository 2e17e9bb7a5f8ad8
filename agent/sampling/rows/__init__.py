"""Rows of candidate tables: judged, stored, ordered, written."""
