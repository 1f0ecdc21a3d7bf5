"""The gateway's side of one recognition worker: its process, its socket, and the listeners of its streams.

The socket pair is the only connection: when one side exits, the other sees it closed, so no thread and no task waits
for the process. (asyncio's own subprocesses cost a thread each on Python 3.11.)
"""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from vocelio.gateway.speech.interfaces import RequestNotSupported, SpeechError
from vocelio.gateway.speech.local import ipc

START_TIMEOUT_SECONDS = 20
"""Starting takes 0.3 s, more on a busy machine."""

MAX_UNSENT_BYTES = 64 * 1024
"""Bytes buffered for a worker: 8 s of one stream. Beyond that the worker does not keep up and is killed; the operating
system buffers about 200 KB more."""

_COMMAND = (sys.executable, "-m", "vocelio.gateway.speech.local.worker_main")

LOG = logging.getLogger(__name__)


class StreamListener(Protocol):
    """Receives the results of a stream."""

    def on_result(self, result: ipc.PartialResult | ipc.FinalResult) -> None: ...

    def fail(self, error: SpeechError) -> None: ...


class WorkerProcess(asyncio.Protocol):
    """A worker process, created by ``spawn``. ``on_exit`` is called when it has exited for whatever reason."""

    def __init__(self, on_exit: Callable[["WorkerProcess"], None]) -> None:
        loop = asyncio.get_running_loop()
        self._on_exit = on_exit
        self._ready: asyncio.Future[None] = loop.create_future()
        self._exited: asyncio.Future[None] = loop.create_future()
        self._frame_reader = ipc.FrameReader(ipc.REPORT_DECODER)
        self._listeners: dict[int, StreamListener] = {}  # bounded by the worker pool
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def spawn(cls, on_exit: Callable[["WorkerProcess"], None]) -> "WorkerProcess":
        """Start a worker and wait until it is ready. Raises SpeechError."""
        try:
            return await cls._spawn(on_exit)
        except TimeoutError:
            raise SpeechError(f"a recognition worker was not ready within {START_TIMEOUT_SECONDS} s") from None
        except OSError as error:  # too many processes or files, or no memory
            raise SpeechError(f"a recognition worker could not be started: {error.strerror}") from error

    @classmethod
    async def _spawn(cls, on_exit: Callable[["WorkerProcess"], None]) -> "WorkerProcess":
        worker = cls(on_exit)
        ours, theirs = socket.socketpair()
        with theirs:
            loop = asyncio.get_running_loop()
            worker._transport, _ = await loop.create_unix_connection(lambda: worker, sock=ours)
            try:
                worker._process = _start_process(theirs)
                theirs.close()  # only the worker has it now, so that it closes when the worker exits
                async with asyncio.timeout(START_TIMEOUT_SECONDS):
                    await worker._ready
            finally:
                if not worker._started:
                    await worker.aclose()
        return worker

    @property
    def _started(self) -> bool:
        return self._ready.done() and not self._ready.cancelled() and self._ready.exception() is None

    @property
    def stream_count(self) -> int:
        """Number of streams that are open or not yet answered."""
        return len(self._listeners)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def open_stream(self, request: ipc.OpenStream, listener: StreamListener) -> None:
        """Open a stream whose results go to ``listener``."""
        self._listeners[request.stream_id] = listener
        self._transport.write(ipc.encode_message(request))

    def send_audio(self, stream_id: int, mulaw: bytes) -> None:
        """Send audio. A worker that does not keep up is killed, which fails all of its streams."""
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.kill("does not keep up")
        else:
            self._transport.write(ipc.encode_message(ipc.StreamAudio(stream_id, mulaw)))

    def finish_stream(self, stream_id: int) -> None:
        self._transport.write(ipc.encode_message(ipc.FinishStream(stream_id)))

    def close_stream(self, stream_id: int) -> None:
        """Drop a stream that is not finished. Does nothing if it has ended."""
        if self._listeners.pop(stream_id, None) is not None:
            self._transport.write(ipc.encode_message(ipc.CloseStream(stream_id)))

    def kill(self, reason: str) -> None:
        """Kill a misbehaving worker; its streams fail in the loop's next iteration."""
        if not self._transport.is_closing():
            LOG.error("recognition worker %s %s; killing it", self.pid, reason)
            self._transport.abort()

    async def aclose(self) -> None:
        """Stop the process; its streams fail."""
        self._transport.abort()
        await self._exited

    def data_received(self, data: bytes) -> None:
        try:
            for report in self._frame_reader.feed(data):
                self._handle_report(report)
        except ValueError as error:  # msgspec's errors are among them
            self.kill(f"sent an invalid message ({error})")

    def connection_lost(self, exc: Exception | None) -> None:
        Context().run(self._on_disconnected)  # an empty context: the worker served all calls, not just the current one

    def _on_disconnected(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()  # a few milliseconds
        listeners = list(self._listeners.values())
        self._listeners.clear()
        error = SpeechError("a recognition worker died")
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # marks it as retrieved, in case no one awaits it
        for listener in listeners:
            listener.fail(error)
        self._exited.set_result(None)
        self._on_exit(self)

    def _handle_report(self, report: ipc.Report) -> None:
        match report:
            case ipc.PartialResult(stream_id=stream):
                if listener := self._listeners.get(stream):
                    listener.on_result(report)
            case ipc.FinalResult(stream_id=stream):
                if listener := self._listeners.pop(stream, None):
                    listener.on_result(report)
            case ipc.StreamFailed(stream_id=stream, reason=reason):
                if listener := self._listeners.pop(stream, None):
                    listener.fail(RequestNotSupported(reason))
            case ipc.PhraseSkipped(phrase=phrase):
                _warn_phrase_skipped(phrase)
            case ipc.WorkerReady() | ipc.StartFailed() if self._ready.done():
                pass  # too late
            case ipc.WorkerReady():
                self._ready.set_result(None)
            case ipc.StartFailed(reason=reason):
                self._ready.set_exception(SpeechError(reason))


def _start_process(worker_socket: socket.socket) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(_COMMAND, stdin=worker_socket.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603 (our own module)


_skipped_phrases: set[str] = set()
_MAX_SKIPPED_PHRASES = 1000


def _warn_phrase_skipped(phrase: str) -> None:
    """Log each phrase once, and only a limited number of them."""
    if phrase not in _skipped_phrases and len(_skipped_phrases) < _MAX_SKIPPED_PHRASES:
        _skipped_phrases.add(phrase)
        LOG.warning("local recognition skips the phrase %r: one of its words has no known pronunciation", phrase)
