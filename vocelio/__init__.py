"""Vocelio Gateway: a company's phone flows, heard and answered in real time over Twilio Media Streams."""

__version__ = "0.1.0"
