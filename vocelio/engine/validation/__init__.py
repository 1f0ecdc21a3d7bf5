"""Validation of flow documents: reports all errors at once, each with its path."""
