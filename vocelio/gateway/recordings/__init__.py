"""Recordings: written in chunks during the call, finalized afterwards, read in ranges."""
