"""Twilio's webhooks and the media WebSocket. Requests without a valid signature are rejected."""
