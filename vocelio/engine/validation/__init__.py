"""Validation of flow documents: every problem at once, with its path."""
