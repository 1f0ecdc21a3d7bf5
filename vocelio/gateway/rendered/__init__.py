"""Prompts that are rendered before anybody calls, and played without a provider: see docs/prompts.md."""
