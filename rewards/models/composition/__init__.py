"""The model that reads a formula."""
