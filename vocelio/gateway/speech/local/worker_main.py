"""A recognition worker: a process that hears the utterances of many calls, one message after the other.

It is started by ``WorkerProcess`` with its end of a socket pair as standard input, and ends when the other
end closes: it cannot outlive the gateway. It runs at a lower priority, so that recognising never delays a
call's audio.
"""

import contextlib
import os
import signal
import socket
import sys

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.decoder import DecoderFactory, UtteranceDecoder

PARTIAL_INTERVAL_BYTES = 1600
"""Mu-law between two looks at what it sounds like so far: 200 ms."""

NICENESS = 5

NOISE_SEED = 1
"""Of the noise that is added to the sound: the same sound always gives the same text."""

_READ_BYTES = 1 << 16


class RecognitionWorker:
    """Answers requests; ``send`` takes the reports, packed."""

    def __init__(self, decoder_factory: DecoderFactory, connection: socket.socket) -> None:
        self._decoder_factory = decoder_factory
        self._connection = connection
        self._streams: dict[int, _Stream] = {}  # bounded by the gateway, which counts what it opens

    def run(self) -> None:
        """Until the other end closes."""
        unpacker = ipc.FrameReader(ipc.REQUEST_DECODER)
        self._send(ipc.WorkerReady())
        while data := self._connection.recv(_READ_BYTES):
            for request in unpacker.feed(data):
                self._handle_request(request)

    def _send(self, report: ipc.Report) -> None:
        self._connection.sendall(ipc.encode_message(report))

    def _handle_request(self, request: ipc.Request) -> None:
        if isinstance(request, ipc.OpenStream):
            self._open_stream(request)
            return
        stream = self._streams.get(request.stream_id)
        if stream is None:
            return  # it has failed, and the gateway did not know yet
        match request:
            case ipc.StreamAudio(mulaw=mulaw):
                self._feed_audio(request.stream_id, stream, mulaw)
            case ipc.FinishStream():
                text, confidence = self._streams.pop(request.stream_id).decoder.finish()
                self._send(ipc.FinalResult(request.stream_id, text, confidence))
            case ipc.CloseStream():
                del self._streams[request.stream_id]

    def _open_stream(self, request: ipc.OpenStream) -> None:
        try:
            utterance = UtteranceDecoder(
                self._decoder_factory, request.phrases, request.language, request.repeat, NOISE_SEED
            )
        except (RuntimeError, ValueError) as error:  # pocketsphinx raises them too, for a grammar it cannot use
            self._send(ipc.StreamFailed(request.stream_id, f"the phrases cannot be recognised: {error}"))
            return
        for phrase in utterance.skipped_phrases:
            self._send(ipc.PhraseSkipped(phrase))
        self._streams[request.stream_id] = _Stream(utterance)

    def _feed_audio(self, stream_id: int, stream: "_Stream", mulaw: bytes) -> None:
        stream.decoder.feed(mulaw)
        stream.bytes_since_partial += len(mulaw)
        if stream.bytes_since_partial < PARTIAL_INTERVAL_BYTES:
            return
        stream.bytes_since_partial = 0
        text, confidence = stream.decoder.partial()
        if text and text != stream.last_partial:
            stream.last_partial = text
            self._send(ipc.PartialResult(stream_id, text, confidence))


class _Stream:
    def __init__(self, decoder: UtteranceDecoder) -> None:
        self.decoder = decoder
        self.bytes_since_partial = 0  # bytes since the last partial
        self.last_partial = ""  # the last partial


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the gateway decides
    os.nice(NICENESS)
    connection = socket.socket(fileno=sys.stdin.fileno())
    try:
        models = DecoderFactory()
        UtteranceDecoder(
            models, ("yes", "no"), "en-US", repeat=False, seed=NOISE_SEED
        ).finish()  # loads all there is to load
    except SpeechError as error:
        connection.sendall(ipc.encode_message(ipc.StartFailed(str(error))))
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the gateway has gone in mid-report
        RecognitionWorker(models, connection).run()


if __name__ == "__main__":
    main()
