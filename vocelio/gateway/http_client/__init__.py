"""HTTP client for requests of flows, with SSRF protection."""
