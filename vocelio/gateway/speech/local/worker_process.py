"""The gateway's end of one recognition worker: its process, its socket, and who listens to what it reports.

The socket pair is the whole connection: its closing is how the worker learns of the gateway's end, and how
the gateway learns of the worker's, so no thread and no task waits for the process. (asyncio's own
subprocesses cost a thread each on Python 3.11.)
"""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Callable
from contextvars import Context
from typing import Protocol

from vocelio.gateway.speech.interfaces import SpeechError, Unsuitable
from vocelio.gateway.speech.local import ipc

START_SECONDS = 20
"""To start: 0.3 s alone, more on a busy machine."""

MAX_UNSENT = 64 * 1024
"""Bytes that may wait for a worker: 8 s of one stream. Past it the worker does not keep up, and what is sent
to it fails; the operating system holds some 200 KB more."""

_COMMAND = (sys.executable, "-m", "vocelio.gateway.speech.local.worker_main")

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Whoever opened a stream."""

    def report(self, report: ipc.Partial | ipc.Final) -> None: ...

    def fail(self, error: SpeechError) -> None: ...


class WorkerProcess(asyncio.Protocol):
    """A running worker. ``spawn`` makes one; ``lost`` is called when it is gone, whatever the reason."""

    def __init__(self, lost: Callable[["WorkerProcess"], None]) -> None:
        loop = asyncio.get_running_loop()
        self._lost = lost
        self._ready: asyncio.Future[None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._unpacker = ipc.Unpacker(ipc.REPORTS)
        self._listeners: dict[int, Listener] = {}  # bounded by the recogniser
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport

    @classmethod
    async def spawn(cls, lost: Callable[["WorkerProcess"], None]) -> "WorkerProcess":
        """Start a worker and wait until it is ready. Raises SpeechError."""
        try:
            return await cls._spawn(lost)
        except TimeoutError:
            raise SpeechError(f"a recognition worker was not ready within {START_SECONDS} s") from None
        except OSError as error:  # too many processes or files, or no memory
            raise SpeechError(f"a recognition worker cannot be started: {error.strerror}") from error

    @classmethod
    async def _spawn(cls, lost: Callable[["WorkerProcess"], None]) -> "WorkerProcess":
        worker = cls(lost)
        ours, theirs = socket.socketpair()
        with theirs:
            loop = asyncio.get_running_loop()
            worker._transport, _ = await loop.create_unix_connection(lambda: worker, sock=ours)
            try:
                worker._process = _start(theirs)
                theirs.close()  # the worker alone has it now, so that it closes when the worker ends
                async with asyncio.timeout(START_SECONDS):
                    await worker._ready
            finally:
                if not worker._started:
                    await worker.aclose()
        return worker

    @property
    def _started(self) -> bool:
        return self._ready.done() and not self._ready.cancelled() and self._ready.exception() is None

    @property
    def load(self) -> int:
        """Streams that it hears, or has yet to answer."""
        return len(self._listeners)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def open(self, request: ipc.Open, listener: Listener) -> None:
        """Begin a stream: what is reported of it goes to ``listener``."""
        self._listeners[request.stream] = listener
        self._transport.write(ipc.pack(request))

    def audio(self, stream: int, mulaw: bytes) -> None:
        """Send sound. A worker that does not keep up is ended, which fails all of its streams."""
        if self._transport.get_write_buffer_size() > MAX_UNSENT:
            self.end("does not keep up")
        else:
            self._transport.write(ipc.pack(ipc.Audio(stream, mulaw)))

    def finish(self, stream: int) -> None:
        self._transport.write(ipc.pack(ipc.Finish(stream)))

    def close(self, stream: int) -> None:
        """Forget a stream that is not finished. Harmless if it has ended."""
        if self._listeners.pop(stream, None) is not None:
            self._transport.write(ipc.pack(ipc.Close(stream)))

    def end(self, why: str) -> None:
        """Kill the worker for something it does: its streams fail, soon."""
        if not self._transport.is_closing():
            _log.error("recognition worker %s %s and is ended", self.pid, why)
            self._transport.abort()

    async def aclose(self) -> None:
        """End the process; its streams fail."""
        self._transport.abort()
        await self._gone

    def data_received(self, data: bytes) -> None:
        try:
            for report in self._unpacker.feed(data):
                self._handle(report)
        except ValueError as error:  # msgspec's errors are among them
            self.end(f"talks nonsense ({error})")

    def connection_lost(self, exc: Exception | None) -> None:
        Context().run(self._end)  # whoever's sound or timer brought it about: it is every call's that was heard here

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()  # a few milliseconds
        listeners = list(self._listeners.values())
        self._listeners.clear()
        error = SpeechError("a recognition worker died")
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # not to be complained of when nobody has waited for it
        for listener in listeners:
            listener.fail(error)
        self._gone.set_result(None)
        self._lost(self)

    def _handle(self, report: ipc.Report) -> None:
        match report:
            case ipc.Partial(stream=stream):
                if listener := self._listeners.get(stream):
                    listener.report(report)
            case ipc.Final(stream=stream):
                if listener := self._listeners.pop(stream, None):
                    listener.report(report)
            case ipc.Failed(stream=stream, reason=reason):
                if listener := self._listeners.pop(stream, None):
                    listener.fail(Unsuitable(reason))
            case ipc.LeftOut(phrase=phrase):
                _warn_left_out(phrase)
            case ipc.Ready() | ipc.Broken() if self._ready.done():
                pass  # too late: nobody waits any more
            case ipc.Ready():
                self._ready.set_result(None)
            case ipc.Broken(reason=reason):
                self._ready.set_exception(SpeechError(reason))


def _start(theirs: socket.socket) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(_COMMAND, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)  # noqa: S603 (our own module)


_left_out: set[str] = set()
_MAX_LEFT_OUT = 1000


def _warn_left_out(phrase: str) -> None:
    """Once for each phrase, and not for ever more of them: flows are written by many hands."""
    if phrase not in _left_out and len(_left_out) < _MAX_LEFT_OUT:
        _left_out.add(phrase)
        _log.warning("the local recogniser cannot hear %r: a word of it has no known pronunciation", phrase)
