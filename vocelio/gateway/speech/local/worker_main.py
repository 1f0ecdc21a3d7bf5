"""Main module of a recognition worker process, which recognizes the utterances of many calls.

It is started by ``WorkerProcess`` with its end of a socket pair as standard input, and exits when the other end closes:
it must not outlive the gateway. It runs at a lower priority, so that recognition never delays a call's audio.
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
"""200 ms of mu-law between two partial results."""

NICENESS = 5

NOISE_SEED = 1
"""Of the noise that is added to the audio, so that the same audio always gives the same text."""

_READ_BYTES = 1 << 16


class RecognitionWorker:
    """Handles the gateway's requests; reports go back over ``connection``."""

    def __init__(self, decoder_factory: DecoderFactory, connection: socket.socket) -> None:
        self._decoder_factory = decoder_factory
        self._connection = connection
        self._streams: dict[int, _Stream] = {}  # bounded by the gateway, see MAX_STREAMS_PER_WORKER

    def run(self) -> None:
        """Handle requests until the gateway closes the connection."""
        frame_reader = ipc.FrameReader(ipc.REQUEST_DECODER)
        self._send(ipc.WorkerReady())
        while data := self._connection.recv(_READ_BYTES):
            for request in frame_reader.feed(data):
                self._handle_request(request)

    def _send(self, report: ipc.Report) -> None:
        self._connection.sendall(ipc.encode_message(report))

    def _handle_request(self, request: ipc.Request) -> None:
        if isinstance(request, ipc.OpenStream):
            self._open_stream(request)
            return
        stream = self._streams.get(request.stream_id)
        if stream is None:
            return  # it has failed, and the gateway did not know it yet
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
            decoder = UtteranceDecoder(
                self._decoder_factory, request.phrases, request.language, request.repeat, NOISE_SEED
            )
        except (RuntimeError, ValueError) as error:  # pocketsphinx raises them for an unusable grammar, too
            self._send(ipc.StreamFailed(request.stream_id, f"the phrases cannot be recognized: {error}"))
            return
        for phrase in decoder.skipped_phrases:
            self._send(ipc.PhraseSkipped(phrase))
        self._streams[request.stream_id] = _Stream(decoder)

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
        self.bytes_since_partial = 0
        self.last_partial = ""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the gateway decides
    os.nice(NICENESS)
    connection = socket.socket(fileno=sys.stdin.fileno())
    try:
        decoder_factory = DecoderFactory()
        # Decode nothing once, which loads all models.
        UtteranceDecoder(decoder_factory, ("yes", "no"), "en-US", repeat=False, seed=NOISE_SEED).finish()
    except SpeechError as error:
        connection.sendall(ipc.encode_message(ipc.StartFailed(str(error))))
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the gateway has exited during a report
        RecognitionWorker(decoder_factory, connection).run()


if __name__ == "__main__":
    main()
