"""Twilio Media Streams, sans-IO: messages, stream protocol, playout, speech input, recording."""
