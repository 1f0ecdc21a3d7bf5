"""Audio codecs as pure functions and small state machines: no asyncio, no clock, no I/O except WAV files.

Telephone audio is mu-law at 8,000 samples per second, one byte per sample. "PCM" is signed 16-bit little-endian mono.
"""
