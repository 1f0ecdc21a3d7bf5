"""Twilio's REST API, webhook signatures and TwiML."""
