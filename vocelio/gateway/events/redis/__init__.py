"""Pub/sub between processes through Redis: single node or cluster."""
