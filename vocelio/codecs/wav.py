"""WAV files with 16-bit samples, mono or stereo, at any rate: the only sound files that are read and written.

The only file of the codecs that does I/O: on a path, or on a binary file that the caller opened. What was recorded on
the telephone stays mu-law within a WAV: half the size, nothing lost, and browsers play it.
"""

import struct
import wave
from pathlib import Path
from typing import BinaryIO

from vocelio.codecs._audioop import audioop

_SAMPLE_BYTES = 2

MULAW_HEADER_BYTES = 58
"""Bytes before the samples of a mu-law WAV."""

_WAVE_FORMAT_MULAW = 7  # WAVE_FORMAT_MULAW; every format but PCM has an extension's size, here 0, and a chunk ``fact``
_MULAW_HEADER_STRUCT = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")


class WavError(ValueError):
    """The file is not a WAV that can be read here; the message says what it is instead."""


def read(source: Path | BinaryIO) -> tuple[bytes, int]:
    """PCM and samples a second; the two sides of a stereo file are averaged.

    Raises WavError, and OSError if the file cannot be read.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read(file)
    try:
        with wave.open(source, "rb") as reader:
            return _read_pcm(reader)
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: chunks that overlap
        raise WavError(f"not a PCM WAV file: {str(error) or 'it ends too early'}") from error


def _read_pcm(reader: wave.Wave_read) -> tuple[bytes, int]:
    channels, width, rate = reader.getnchannels(), reader.getsampwidth(), reader.getframerate()
    if width != _SAMPLE_BYTES:
        raise WavError(f"{8 * width}-bit samples: only 16-bit ones can be read")
    if channels not in (1, 2):
        raise WavError(f"{channels} channels: only mono and stereo can be read")
    if rate < 1:
        raise WavError(f"a rate of {rate} samples a second")
    pcm = reader.readframes(reader.getnframes())
    pcm = pcm[: len(pcm) - len(pcm) % (channels * _SAMPLE_BYTES)]  # a file cut short may end within a sample
    return (pcm if channels == 1 else audioop.tomono(pcm, _SAMPLE_BYTES, 0.5, 0.5)), rate


def write_mono(target: Path | BinaryIO, pcm: bytes, rate: int) -> None:
    """Write PCM at ``rate`` samples a second."""
    _write(target, pcm, rate, channels=1)


def write_stereo(target: Path | BinaryIO, left: bytes, right: bytes, rate: int) -> None:
    """Write two sides of PCM; the shorter one is filled up with silence."""
    length = max(len(left), len(right))
    sides = (
        audioop.tostereo(left.ljust(length, b"\0"), _SAMPLE_BYTES, 1, 0),
        audioop.tostereo(right.ljust(length, b"\0"), _SAMPLE_BYTES, 0, 1),
    )
    _write(target, audioop.add(*sides, _SAMPLE_BYTES), rate, channels=2)


def _write(target: Path | BinaryIO, pcm: bytes, rate: int, channels: int) -> None:
    if isinstance(target, Path):
        with target.open("wb") as file:
            return _write(file, pcm, rate, channels)
    with wave.open(target, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(_SAMPLE_BYTES)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return None


def mulaw_header(size: int, channels: int, rate: int) -> bytes:
    """What comes before ``size`` bytes of mu-law, a byte of each channel in turn; behind an odd number comes one more.

    Source: Microsoft's "Multiple Channel Audio Data and WAVE Files", as RFC 2361 lists it.
    """
    whole = MULAW_HEADER_BYTES - 8 + size + size % 2
    form = (b"fmt ", 18, _WAVE_FORMAT_MULAW, channels, rate, rate * channels, channels, 8, 0)
    return _MULAW_HEADER_STRUCT.pack(b"RIFF", whole, b"WAVE", *form, b"fact", 4, size // channels, b"data", size)
