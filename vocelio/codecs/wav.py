"""WAV reader and writer: 16-bit PCM, mono or stereo, at any rate, and the header of mu-law WAV files.

The only codec module with I/O, on a path or an open binary file. Recordings of phone calls stay mu-law within a WAV
file: half the size, lossless, and playable in browsers.
"""

import struct
import wave
from pathlib import Path
from typing import BinaryIO

from vocelio.codecs._audioop import audioop

_SAMPLE_BYTES = 2

MULAW_HEADER_BYTES = 58
"""Bytes before the samples of a mu-law WAV file."""

_WAVE_FORMAT_MULAW = 7  # every format but PCM has an extension size, here 0, and a ``fact`` chunk
_MULAW_HEADER_STRUCT = struct.Struct("<4sI4s4sIHHIIHHH4sII4sI")


class WavError(ValueError):
    """The file is not a supported WAV file; the message says why."""


def read(source: Path | BinaryIO) -> tuple[bytes, int]:
    """Read a WAV file. Returns PCM and the sample rate; stereo is averaged to mono.

    Raises WavError if the format is not supported, OSError if the file cannot be read.
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
        raise WavError(f"{8 * width}-bit samples: only 16-bit samples are supported")
    if channels not in (1, 2):
        raise WavError(f"{channels} channels: only mono and stereo are supported")
    if rate < 1:
        raise WavError(f"invalid sample rate: {rate} Hz")
    pcm = reader.readframes(reader.getnframes())
    pcm = pcm[: len(pcm) - len(pcm) % (channels * _SAMPLE_BYTES)]  # a truncated file may end within a sample
    return (pcm if channels == 1 else audioop.tomono(pcm, _SAMPLE_BYTES, 0.5, 0.5)), rate


def write_mono(target: Path | BinaryIO, pcm: bytes, rate: int) -> None:
    """Write PCM as a mono file; ``rate`` is samples per second."""
    _write(target, pcm, rate, channels=1)


def write_stereo(target: Path | BinaryIO, left: bytes, right: bytes, rate: int) -> None:
    """Write two channels of PCM; the shorter one is padded with silence."""
    length = max(len(left), len(right))
    channels = (
        audioop.tostereo(left.ljust(length, b"\0"), _SAMPLE_BYTES, 1, 0),
        audioop.tostereo(right.ljust(length, b"\0"), _SAMPLE_BYTES, 0, 1),
    )
    _write(target, audioop.add(*channels, _SAMPLE_BYTES), rate, channels=2)


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
    """Return the header of a mu-law WAV file with ``size`` bytes of interleaved samples.

    An odd number of bytes must be followed by a padding byte. Source: Microsoft's "Multiple Channel Audio Data and WAVE
    Files", listed in RFC 2361.
    """
    riff_size = MULAW_HEADER_BYTES - 8 + size + size % 2
    format_chunk = (b"fmt ", 18, _WAVE_FORMAT_MULAW, channels, rate, rate * channels, channels, 8, 0)
    return _MULAW_HEADER_STRUCT.pack(
        b"RIFF", riff_size, b"WAVE", *format_chunk, b"fact", 4, size // channels, b"data", size
    )
