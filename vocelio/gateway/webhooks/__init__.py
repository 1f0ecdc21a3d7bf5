"""Twilio's endpoints: the webhooks and the media socket. Everything here is signed by Twilio or refused."""
