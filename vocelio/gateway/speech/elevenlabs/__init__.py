"""ElevenLabs speech: recognition by Scribe's realtime WebSocket, synthesis by the SDK's streaming requests.

The SDK takes a second to import and 25 ms for its TLS context: ``lazy_client`` does both in a thread, on first use.
This package itself imports nothing.
"""
