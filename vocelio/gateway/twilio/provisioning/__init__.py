"""Provisioning of phone numbers at Twilio: webhooks, drift, import."""
