"""The prompt cache and the pre-rendering of prompts."""
