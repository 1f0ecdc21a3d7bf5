"""From a transcript or pressed keys to an answer."""
