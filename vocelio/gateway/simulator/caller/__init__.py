"""The simulated caller: script, turn-taking, the 20 ms audio loop."""
