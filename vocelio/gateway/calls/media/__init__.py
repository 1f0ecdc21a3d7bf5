"""The audio of one stream: prompts, recognition, recordings, turn latency."""
