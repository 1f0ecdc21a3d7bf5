"""State and leases of pre-rendered prompts."""
