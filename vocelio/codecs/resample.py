"""Resampling of a stream of PCM: the output depends on the samples only, never on how they were cut.

The work is soxr's, in 32-bit floats: its 16-bit output is dithered. soxr and numpy take a fifth of a second to import,
and what the cloud speaks is never resampled: so they are loaded with the first stream.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    Samples = numpy.ndarray[Any, numpy.dtype[numpy.float32]]

_FULL_SCALE = 32768.0


class Resampler:
    """Turns PCM at one rate into PCM at another, piece by piece.

    soxr looks ahead, so the output lags the input by some milliseconds until ``last`` brings the rest.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        import soxr

        self._stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")
        self._half_sample = b""
        self._ended = False

    def process(self, pcm: bytes, last: bool = False) -> bytes:
        """The output that ``pcm`` completes; a sample split between two calls is put together.

        ``last`` ends the stream (half a sample left over is dropped); a call after it raises ValueError.
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
