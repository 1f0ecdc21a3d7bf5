"""Twilio account and phone number of the server under load, apart from the server so that callers start quickly."""

ACCOUNT_SID, AUTH_TOKEN, NUMBER = "AC" + "b" * 32, "bench", "+13072249663"
