"""Replay: a call's log, run again on its own version or on another, and where the conversation would differ."""
