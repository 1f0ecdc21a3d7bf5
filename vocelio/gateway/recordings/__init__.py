"""Recordings while and after they are made: written in pieces beside the calls, joined, read."""
