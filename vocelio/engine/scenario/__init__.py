"""Scenario tests for flow authors: a YAML file of calls, run over a virtual telephone in milliseconds."""
