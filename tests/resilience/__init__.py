"""Resilience tests: live calls while gateway processes, the database or Redis fail or restart."""
