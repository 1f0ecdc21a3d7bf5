"""Desired state of each number at Twilio, as a leased queue."""
