"""Operator commands and listen-in, across processes."""
