"""The gateway's side of one speech worker: its process, its socket, and its end.

The socket pair is the only connection: when one side exits, the other sees it closed, so no thread and no task waits
for the process. (asyncio's own subprocesses cost a thread each on Python 3.11.)
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from contextvars import Context
from typing import Any, ClassVar

import msgspec

from vocelio.gateway.speech.interfaces import SpeechError
from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.worker_progress import WorkerProgress, shared_memory

START_TIMEOUT_SECONDS = 20
"""Starting takes 0.3 s, more on a busy machine."""

MAX_UNSENT_BYTES = 256 * 1024
"""Bytes buffered for a worker, as much as the longest utterance (30 s); the operating system buffers 200 KB more. A
worker reads whenever it is not within a library, so with more it is late."""

MAX_LATE_SECONDS = 5.0
"""For which a worker may be that late: past it, it hangs, and is killed."""

MAX_WARNED_SUBJECTS = 1_000
"""Phrases or voices that a warning is logged for: they are in tenants' flows."""

INHERITED_VARIABLES = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "COVERAGE_PROCESS_START",
)
"""Environment variables that a worker gets, besides Python's own: none with a secret."""

_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # numpy's: each reserves memory, none has any work

LOG = logging.getLogger(__name__)


class WorkerProcess(asyncio.Protocol, ABC):
    """A worker process of one kind; ``service`` names it in messages, ``module`` is its main module."""

    service: ClassVar[str]
    module: ClassVar[str]
    report_decoder: ClassVar[msgspec.msgpack.Decoder[Any]]

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.is_late = False  # more than MAX_UNSENT_BYTES are waiting for it
        self._ready: asyncio.Future[None] = loop.create_future()
        self._frame_reader = ipc.FrameReader(self.report_decoder)
        self._late_timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._progress: WorkerProgress
        self._transport: asyncio.Transport

    @abstractmethod
    def handle_report(self, report: Any) -> None:
        """Process a report, other than that the worker has started."""

    @abstractmethod
    def handle_death(self, error: SpeechError, current_input: int) -> None:
        """Process the end of the worker, which has died on an input, or on none (0)."""

    @abstractmethod
    def handle_closed(self, error: SpeechError) -> None:
        """Fail everything: the gateway has stopped the worker."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether it has started, and has neither exited nor been killed."""
        return self._has_started and not self._transport.is_closing() and not self.exited.done()

    @property
    def work_count(self) -> int:
        """Pieces of work that it has begun so far."""
        return self._progress.count

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises SpeechError."""
        try:
            await self._start()
        except TimeoutError:
            raise SpeechError(f"a {self.service} worker was not ready within {START_TIMEOUT_SECONDS} s") from None
        except OSError as error:  # too many processes or files, or no memory
            raise SpeechError(f"a {self.service} worker could not be started: {error.strerror}") from error

    async def _start(self) -> None:
        with shared_memory() as shared:
            self._progress = WorkerProgress(shared)
            ours, theirs = socket.socketpair()
            with theirs:
                loop = asyncio.get_running_loop()
                self._transport, _ = await loop.create_unix_connection(lambda: self, sock=ours)
                self._transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
                try:
                    self._process = _start_process(self.module, theirs, shared)
                    theirs.close()  # only the worker has it now, so that it closes when the worker exits
                    async with asyncio.timeout(START_TIMEOUT_SECONDS):
                        await self._ready
                finally:
                    if not self._has_started:
                        await self.aclose()

    @property
    def _has_started(self) -> bool:
        return self._ready.done() and not self._ready.cancelled() and self._ready.exception() is None

    def send(self, message: ipc.Message) -> None:
        """Send a message; the caller bounds what is sent while the worker ``is_late``."""
        self._transport.write(ipc.encode_message(message))

    def kill(self, reason: str) -> None:
        """Kill a misbehaving worker; ``handle_death`` follows in the loop's next iteration."""
        if not self._transport.is_closing():
            LOG.error("%s worker %s %s; killing it", self.service, self.pid, reason)
            self._transport.abort()

    async def aclose(self) -> None:
        """Stop the process."""
        self._closing = True
        self._transport.abort()
        await self.exited

    # asyncio's callbacks

    def data_received(self, data: bytes) -> None:
        try:
            for report in self._frame_reader.feed(data):
                self._handle_report(report)
        except ValueError as error:  # msgspec's errors are among them
            self.kill(f"sent an invalid message ({error})")

    def pause_writing(self) -> None:
        self.is_late = True
        self._late_timer = asyncio.get_running_loop().call_later(MAX_LATE_SECONDS, self.kill, "does not keep up")

    def resume_writing(self) -> None:
        self.is_late = False
        self._cancel_late_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        Context().run(self._on_disconnected)  # an empty context: the worker served all calls, not just the current one

    def _on_disconnected(self) -> None:
        self._cancel_late_timer()
        end = ""
        if self._process is not None:
            self._process.kill()
            end = _describe_end(self._process.wait())  # a few milliseconds
        current_input = self._progress.current_input
        self._progress.close()
        error = SpeechError(f"a {self.service} worker died{end}")
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # marks it as retrieved, in case no one awaits it
        self.exited.set_result(None)
        if self._closing:
            self.handle_closed(SpeechError(f"local {self.service} was stopped"))
        else:
            self.handle_death(error, current_input)

    def _cancel_late_timer(self) -> None:
        if self._late_timer is not None:
            self._late_timer.cancel()

    def _handle_report(self, report: Any) -> None:
        match report:
            case ipc.WorkerReady() | ipc.StartFailed() if self._ready.done():
                pass  # too late
            case ipc.WorkerReady():
                self._ready.set_result(None)
            case ipc.StartFailed(reason=reason):
                self._ready.set_exception(SpeechError(reason))
            case _:
                self.handle_report(report)


def _start_process(module: str, worker_socket: socket.socket, shared: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 (our own module)
        (sys.executable, "-m", module, str(shared)),
        stdin=worker_socket.fileno(),
        stdout=subprocess.DEVNULL,
        pass_fds=(shared,),
        env=worker_environment(),
    )


def worker_environment() -> dict[str, str]:
    """Return the environment of a worker."""
    inherited = {
        name: value for name, value in os.environ.items() if name in INHERITED_VARIABLES or name.startswith("PYTHON")
    }
    return inherited | _THREADS


def _describe_end(return_code: int) -> str:
    """Return the signal that ended a process other than by the gateway, as `` (SIGABRT)``."""
    if return_code >= 0 or return_code == -signal.SIGKILL:
        return ""
    return f" ({signal.Signals(-return_code).name})"


_warnings: dict[str, set[str]] = {}  # the first arguments of the warnings that were logged, by message


def warn_once(message: str, subject: str, *arguments: str) -> None:
    """Log a worker's warning about a subject once, and about MAX_WARNED_SUBJECTS at most."""
    warned = _warnings.setdefault(message, set())
    if subject not in warned and len(warned) < MAX_WARNED_SUBJECTS:
        warned.add(subject)
        LOG.warning(message, subject, *arguments)
