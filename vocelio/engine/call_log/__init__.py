"""The log of a call's events and actions, from which the call can be replayed."""
