"""Tenant settings, departments, secrets, sounds, rates and Twilio accounts."""
