import contextlib
import io
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocelio.codecs import wav

PCM = st.binary(max_size=400).map(lambda data: data[: len(data) & ~1])


def make_wav(channels: int, width: int, data: bytes, rate: int = 8000) -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(data)
    file.seek(0)
    return file


@given(PCM, st.sampled_from([8000, 16000, 22050, 44100, 48000]))
def test_mono_round_trip(pcm: bytes, rate: int):
    file = io.BytesIO()
    wav.write_mono(file, pcm, rate)
    file.seek(0)
    assert wav.read(file) == (pcm, rate)


@given(PCM, PCM)
def test_stereo_pads_the_shorter_channel(left: bytes, right: bytes):
    file = io.BytesIO()
    wav.write_stereo(file, left, right, 8000)
    file.seek(0)
    with wave.open(file, "rb") as reader:
        data = reader.readframes(reader.getnframes())
    length = max(len(left), len(right))
    assert b"".join(data[at : at + 2] for at in range(0, len(data), 4)) == left.ljust(length, b"\0")
    assert b"".join(data[at : at + 2] for at in range(2, len(data), 4)) == right.ljust(length, b"\0")


def test_stereo_is_read_as_the_average():
    file = io.BytesIO()
    wav.write_stereo(file, (1000).to_bytes(2, "little"), (3000).to_bytes(2, "little"), 8000)
    file.seek(0)
    assert wav.read(file) == ((2000).to_bytes(2, "little"), 8000)


def test_read_and_write_paths(tmp_path: Path):
    path = tmp_path / "sound.wav"
    wav.write_mono(path, b"\1\2", 8000)
    assert wav.read(path) == (b"\1\2", 8000)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (make_wav(1, 1, bytes(10)), "8-bit"),
        (make_wav(1, 3, bytes(9)), "24-bit"),
        (make_wav(4, 2, bytes(16)), "4 channels"),
        (io.BytesIO(b""), "ends too early"),
        (io.BytesIO(b"ID3\4 this is an MP3"), "not a PCM WAV"),
        (
            io.BytesIO(make_wav(1, 2, bytes(10)).getvalue().replace(b"\x01\x00\x01\x00", b"\x07\x00\x01\x00", 1)),
            "unknown format",
        ),
    ],
)
def test_unsupported_format_is_rejected(file: io.BytesIO, message: str):
    with pytest.raises(wav.WavError, match=message):
        wav.read(file)


def test_truncated_file_gives_complete_samples():
    whole = make_wav(2, 2, bytes(range(40))).getvalue()
    pcm, _ = wav.read(io.BytesIO(whole[:-3]))
    assert len(pcm) == 18


@given(st.integers(0, 60), st.binary(max_size=8))
def test_damaged_file_raises_only_wav_error(at: int, damage: bytes):
    whole = bytearray(make_wav(1, 2, bytes(20)).getvalue())
    whole[at : at + len(damage)] = damage
    with contextlib.suppress(wav.WavError):
        wav.read(io.BytesIO(bytes(whole)))


def test_mulaw_header_mono():
    header = wav.mulaw_header(7, 1, 8000)
    assert len(header) == wav.MULAW_HEADER_BYTES
    chunk, size, form, kind, length, tag, channels, rate, byte_rate, align, bits, extension = struct.unpack(
        "<4sI4s4sIHHIIHHH", header[:38]
    )
    assert (chunk, size, form) == (b"RIFF", 58 + 7 + 1 - 8, b"WAVE"), "an odd number of bytes is padded"
    assert (kind, length, tag, channels, rate) == (b"fmt ", 18, 7, 1, 8000)
    assert (byte_rate, align, bits, extension) == (8000, 1, 8, 0)
    assert struct.unpack("<4sII4sI", header[38:]) == (b"fact", 4, 7, b"data", 7)


def test_mulaw_header_stereo():
    header = wav.mulaw_header(16_000, 2, 8000)
    assert struct.unpack("<HIIH", header[22:34]) == (2, 8000, 16_000, 2)
    assert struct.unpack("<I", header[46:50]) == (8000,), "samples per channel"
