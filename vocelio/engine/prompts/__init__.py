"""Static analysis: which prompts a flow can play, before any call."""
