"""A simulated Twilio with callers, for the demo, tests and benchmarks."""
