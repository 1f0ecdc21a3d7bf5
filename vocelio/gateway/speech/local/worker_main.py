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
from vocelio.gateway.speech.local.decoder import Models, Utterance

PARTIAL_BYTES = 1600
"""Mu-law between two looks at what it sounds like so far: 200 ms."""

NICENESS = 5

SEED = 1
"""Of the noise that is added to the sound: the same sound always gives the same text."""

_READ_BYTES = 1 << 16


class Worker:
    """Answers requests; ``send`` takes the reports, packed."""

    def __init__(self, models: Models, connection: socket.socket) -> None:
        self._models = models
        self._connection = connection
        self._streams: dict[int, _Stream] = {}  # bounded by the gateway, which counts what it opens

    def run(self) -> None:
        """Until the other end closes."""
        unpacker = ipc.Unpacker(ipc.REQUESTS)
        self._send(ipc.Ready())
        while data := self._connection.recv(_READ_BYTES):
            for request in unpacker.feed(data):
                self._handle(request)

    def _send(self, report: ipc.Report) -> None:
        self._connection.sendall(ipc.pack(report))

    def _handle(self, request: ipc.Request) -> None:
        if isinstance(request, ipc.Open):
            self._open(request)
            return
        stream = self._streams.get(request.stream)
        if stream is None:
            return  # it has failed, and the gateway did not know yet
        match request:
            case ipc.Audio(mulaw=mulaw):
                self._audio(request.stream, stream, mulaw)
            case ipc.Finish():
                text, confidence = self._streams.pop(request.stream).utterance.finish()
                self._send(ipc.Final(request.stream, text, confidence))
            case ipc.Close():
                del self._streams[request.stream]

    def _open(self, request: ipc.Open) -> None:
        try:
            utterance = Utterance(self._models, request.phrases, request.language, request.repeat, SEED)
        except (RuntimeError, ValueError) as error:  # pocketsphinx raises them too, for a grammar it cannot use
            self._send(ipc.Failed(request.stream, f"the phrases cannot be recognised: {error}"))
            return
        for phrase in utterance.left_out:
            self._send(ipc.LeftOut(phrase))
        self._streams[request.stream] = _Stream(utterance)

    def _audio(self, number: int, stream: "_Stream", mulaw: bytes) -> None:
        stream.utterance.feed(mulaw)
        stream.unheard += len(mulaw)
        if stream.unheard < PARTIAL_BYTES:
            return
        stream.unheard = 0
        text, confidence = stream.utterance.partial()
        if text and text != stream.said:
            stream.said = text
            self._send(ipc.Partial(number, text, confidence))


class _Stream:
    def __init__(self, utterance: Utterance) -> None:
        self.utterance = utterance
        self.unheard = 0  # bytes since the last partial
        self.said = ""  # the last partial


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the gateway decides
    os.nice(NICENESS)
    connection = socket.socket(fileno=sys.stdin.fileno())
    try:
        models = Models()
        Utterance(models, ("yes", "no"), "en-US", repeat=False, seed=SEED).finish()  # loads all there is to load
    except SpeechError as error:
        connection.sendall(ipc.pack(ipc.Broken(str(error))))
        return
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the gateway has gone in mid-report
        Worker(models, connection).run()


if __name__ == "__main__":
    main()
