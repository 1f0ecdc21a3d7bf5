"""Streaming resampler for PCM. The output depends on the samples only, not on how the stream is split into chunks.

Uses soxr with 32-bit floats, since its 16-bit output is dithered. soxr and numpy are imported with the first stream:
importing takes 0.2 s, and the audio of cloud providers is never resampled.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    Samples = numpy.ndarray[Any, numpy.dtype[numpy.float32]]

_FULL_SCALE = 32768.0


class Resampler:
    """Converts a PCM stream from one sample rate to another.

    soxr looks ahead, so the output lags some milliseconds behind the input until ``last`` flushes it.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        import soxr

        self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")
        self._half_sample = b""
        self._ended = False

    def process(self, pcm: bytes, last: bool = False) -> bytes:
        """Process a chunk, which may split a sample, and return the available output.

        ``last`` ends the stream and drops an incomplete sample; a later call raises ValueError.
        """
        if self._ended:
            raise ValueError("the stream has ended")
        self._ended = last
        return _to_pcm(self._stream.resample_chunk(self._decode_samples(pcm), last=last))

    def _decode_samples(self, pcm: bytes) -> "Samples":
        import numpy

        if self._half_sample:
            pcm = self._half_sample + pcm
        whole = len(pcm) & ~1
        self._half_sample = pcm[whole:]
        return numpy.frombuffer(pcm, dtype="<i2", count=whole // 2).astype(numpy.float32) / _FULL_SCALE


def _to_pcm(samples: "Samples") -> bytes:
    import numpy

    scaled = numpy.clip(numpy.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    return bytes(scaled.astype("<i2"))
