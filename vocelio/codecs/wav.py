"""WAV files with 16-bit samples, mono or stereo, at any rate: the only sound files that are read and written.

The only file of the codecs that does I/O: on a path, or on a binary file that the caller opened.
"""

import wave
from pathlib import Path
from typing import BinaryIO

from vocelio.codecs._audioop import audioop

_SAMPLE_BYTES = 2


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
            return _read(reader)
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: chunks that overlap
        raise WavError(f"not a PCM WAV file: {str(error) or 'it ends too early'}") from error


def _read(reader: wave.Wave_read) -> tuple[bytes, int]:
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
