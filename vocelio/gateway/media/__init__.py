"""Twilio Media Streams, sans-IO: wire types, the stream, playout towards the caller, listening to the caller."""
