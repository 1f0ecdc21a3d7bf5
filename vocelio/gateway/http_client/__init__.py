"""HTTP requests of flows, never to private addresses."""
