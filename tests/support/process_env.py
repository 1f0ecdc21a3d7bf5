"""What a process of the tests' own is started with."""

import os


def clean_environment():
    """This process's environment without any setting of the gateway's."""
    ours = ("VOCELIO_", "TWILIO_", "PORT", "AZURE_", "ELEVENLABS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
