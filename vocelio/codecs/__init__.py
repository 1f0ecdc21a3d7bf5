"""Sound, as pure functions and small state machines: no I/O, no asyncio, no clock.

Telephone audio is mu-law at 8,000 samples a second, one byte a sample; "PCM" below is signed 16-bit
little-endian mono.
"""
