"""The database: calls, flows, numbers, tenants, keys, recordings."""
