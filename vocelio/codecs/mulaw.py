"""Mu-law (ITU-T G.711), the telephone's audio format: one byte per sample, 8,000 bytes per second.

Decoding and encoding gives the same bytes, except that the negative zero (0x7F) becomes the positive one.
"""

from vocelio.codecs._audioop import audioop

SAMPLE_RATE = 8000

SILENCE_BYTE = 0xFF
"""The code of a zero sample (positive zero)."""


def decode(mulaw: bytes) -> bytes:
    """Decode mu-law to PCM, two bytes per sample."""
    return audioop.ulaw2lin(mulaw, 2)


def encode(pcm: bytes) -> bytes:
    """Encode PCM as mu-law. Raises ValueError for an incomplete sample."""
    try:
        return audioop.lin2ulaw(pcm, 2)
    except audioop.error as error:
        raise ValueError(f"{len(pcm)} bytes are not whole 16-bit samples") from error
