"""Routing, decoding, authentication, rate limits, problem details and OpenAPI of the control API."""
