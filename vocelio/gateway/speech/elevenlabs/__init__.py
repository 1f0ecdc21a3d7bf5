"""ElevenLabs: Scribe hears (its realtime WebSocket), a Flash voice speaks (the SDK's streaming request).

The SDK needs a second to be imported and 25 ms for its TLS context: ``service`` does both in a thread, when
first needed. This package imports nothing itself.
"""
