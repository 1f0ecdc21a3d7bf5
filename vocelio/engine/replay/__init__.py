"""Replay of a call log and comparison with the original run."""
