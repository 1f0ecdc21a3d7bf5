"""Whose the gateway under load is, and its number: all that callers need to know, who start quickly for that."""

ACCOUNT_SID, AUTH_TOKEN, NUMBER = "AC" + "b" * 32, "bench", "+13072249663"
