"""Live calls: the registry, the call record that outlives a stream, and the session of each stream."""
