"""Execution of TwiML verbs."""
