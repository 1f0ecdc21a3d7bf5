"""Scenario tests that flow authors write in YAML."""
