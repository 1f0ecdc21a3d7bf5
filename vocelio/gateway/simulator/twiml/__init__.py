"""TwiML parsing and validation."""
