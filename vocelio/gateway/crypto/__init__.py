"""Encryption at rest and signed tokens."""
