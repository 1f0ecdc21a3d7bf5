"""Background services: heartbeats, the reaper of orphaned calls, draining."""
