"""What outlives a stream: the tenants' flows and numbers, and the calls under way."""
