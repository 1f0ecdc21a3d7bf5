"""What happened in a simulated call."""
