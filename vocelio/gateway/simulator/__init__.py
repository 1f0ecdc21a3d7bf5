"""The carrier's side and the caller, simulated: for the demo, the tests, the benchmarks and whoever has no account."""
