"""Flows, sans-IO: the document, its validation, and the session that runs it."""
