"""Flow drafts, immutable versions, promotion and diff."""
