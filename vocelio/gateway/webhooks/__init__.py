"""Twilio's webhooks and media socket. Requests without a valid signature are refused."""
