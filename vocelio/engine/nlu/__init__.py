"""Language understanding: from a transcript or pressed keys to an answer."""
