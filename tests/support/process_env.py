"""Environment of processes that tests start."""

import os


def clean_environment():
    """Return this process's environment without the gateway's settings."""
    ours = ("VOCELIO_", "TWILIO_", "PORT", "AZURE_", "ELEVENLABS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
