"""Emulators of speech services, written from their protocols, with fault injection."""
