"""Mu-law (ITU-T G.711), the sound of the telephone: one byte a sample, 8,000 bytes a second.

Decoding and encoding again gives the same bytes, save that the negative zero (0x7F) becomes the positive one.
"""

from vocelio.codecs._audioop import audioop

SAMPLE_RATE = 8000

SILENCE_BYTE = 0xFF
"""The byte of a zero sample (the positive zero)."""


def decode(mulaw: bytes) -> bytes:
    """PCM of mu-law: two bytes for each one."""
    return audioop.ulaw2lin(mulaw, 2)


def encode(pcm: bytes) -> bytes:
    """Mu-law of PCM: one byte for each two. Raises ValueError for half a sample."""
    try:
        return audioop.lin2ulaw(pcm, 2)
    except audioop.error as error:
        raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples") from error
