"""The gateway's side of one recognition worker: the streams that it decodes, and their listeners."""

import asyncio
import logging
from typing import Any, NamedTuple, Protocol

from vocelio.codecs.mulaw import SAMPLE_RATE
from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.worker_process import WorkerProcess, warn_once

MAX_AHEAD_BYTES = 5 * SAMPLE_RATE
"""Of a stream's audio, ahead of real time, while the worker is late. An utterance in progress starts with 3 s."""

LOG = logging.getLogger(__name__)


class StreamListener(Protocol):
    """Receives the results of a stream."""

    def on_result(self, result: ipc.PartialResult | ipc.FinalResult) -> None: ...

    def on_worker_death(self, error: SpeechError, role: "StreamRole") -> None: ...

    def fail(self, error: SpeechError) -> None: ...


class StreamRole(NamedTuple):
    """What a stream had to do with the death of its worker: was it at work for it, and on its phrases?"""

    was_current: bool
    was_opening: bool


class _Stream:
    """A stream that is open or not yet answered."""

    def __init__(self, listener: StreamListener) -> None:
        self.listener = listener
        self.sent_bytes = 0
        self._opened_at = asyncio.get_running_loop().time()

    def ahead_bytes(self) -> float:
        """Return how much more audio was sent than real time has brought."""
        return self.sent_bytes - (asyncio.get_running_loop().time() - self._opened_at) * SAMPLE_RATE


class RecognitionProcess(WorkerProcess):
    """A recognition worker."""

    service = "recognition"
    module = "vocelio.gateway.speech.local.recognition_main"
    report_decoder = ipc.RECOGNITION_REPORTS

    def __init__(self) -> None:
        super().__init__()
        self._streams: dict[int, _Stream] = {}  # bounded by MAX_STREAMS_PER_WORKER

    @property
    def stream_count(self) -> int:
        """Number of streams that are open or not yet answered."""
        return len(self._streams)

    def open_stream(self, request: ipc.OpenStream, listener: StreamListener) -> None:
        """Open a stream whose results go to ``listener``."""
        self._streams[request.stream_id] = _Stream(listener)
        self.send(request)

    def send_audio(self, stream_id: int, mulaw: bytes) -> None:
        """Send audio. While the worker is late, this ends the stream that is furthest ahead of real time, if any is."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return  # it has failed
        stream.sent_bytes += len(mulaw)
        if self.is_late:
            self._shed_stream()
        if stream_id in self._streams:
            self.send(ipc.StreamAudio(stream_id, mulaw))

    def finish_stream(self, stream_id: int) -> None:
        """Ask for the result."""
        if stream_id in self._streams:
            self.send(ipc.FinishStream(stream_id))

    def close_stream(self, stream_id: int) -> None:
        """Drop a stream. Does nothing if it has ended."""
        if self._streams.pop(stream_id, None) is not None:
            self.send(ipc.CloseStream(stream_id))

    def _shed_stream(self) -> None:
        stream_id, stream = max(self._streams.items(), key=lambda item: item[1].ahead_bytes())
        if stream.ahead_bytes() <= MAX_AHEAD_BYTES:
            return
        LOG.warning("recognition worker %s does not keep up; ending the stream that sends fastest", self.pid)
        self.close_stream(stream_id)
        error = RequestNotSupported("local recognition does not keep up with this stream's audio")
        asyncio.get_running_loop().call_soon(stream.listener.fail, error)  # never from inside the caller's own call

    def handle_death(self, error: SpeechError, current_input: int) -> None:
        streams, self._streams = self._streams, {}
        for stream_id, stream in streams.items():
            role = StreamRole(abs(current_input) == stream_id, current_input == stream_id)
            stream.listener.on_worker_death(error, role)

    def handle_closed(self, error: SpeechError) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.listener.fail(error)

    def handle_report(self, report: Any) -> None:
        match report:
            case ipc.PartialResult(stream_id=stream_id):
                if stream := self._streams.get(stream_id):
                    stream.listener.on_result(report)
            case ipc.FinalResult(stream_id=stream_id):
                if stream := self._streams.pop(stream_id, None):
                    stream.listener.on_result(report)
            case ipc.StreamFailed(stream_id=stream_id, reason=reason):
                if stream := self._streams.pop(stream_id, None):
                    stream.listener.fail(RequestNotSupported(reason))
            case ipc.PhraseSkipped(phrase=phrase):
                warn_once("local recognition skips the phrase %r: one of its words has no known pronunciation", phrase)
