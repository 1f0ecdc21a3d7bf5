"""Several processes on one port: a parent that starts them, replaces what dies, and passes on what it is told.

The parent serves nobody and knows nothing of calls, so there is little in it that could fail. Each worker listens on a
socket of its own with SO_REUSEPORT, and the kernel spreads the connections: of 200 to 4 workers each got 38 to 60,
while of one inherited socket they took 31 to 87, and whoever is full before the others refuses calls. What waits in the
queue of a worker that dies is lost with it, but then that is some milliseconds' worth.

Between the parent and each worker there is a socket pair. The worker says on it that it serves; its end tells the
worker, by whatever way the parent went, that it is alone: then it leaves as if it had been told to. Workers lead
process groups of their own, so that Control-C comes to the parent alone and leaving is always in good order.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

LOG = logging.getLogger(__name__)

STEADY_SECONDS = 60.0  # a worker that has lived for so long is replaced at once
PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before another try: doubled with each that dies young
LEAVING_SECONDS = 15.0  # beside draining: a worker takes ten at most
READY = b"."
BAD_SETTINGS = 2  # a worker's exit code: another try is of no use
TRIES = 3  # of a place, while none has ever served: a crowded machine may be too slow for the first


class Parent:
    """A worker's way to its parent: the file descriptor that it was started with."""

    def __init__(self, descriptor: int) -> None:
        self._channel = socket.socket(fileno=descriptor)
        self._channel.setblocking(False)
        os.set_inheritable(descriptor, False)

    def ready(self, alone: Callable[[], None]) -> None:
        """Say that this process serves; ``alone`` is called when the parent is gone."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._channel)
            self._channel.close()
            alone()

        loop.add_reader(self._channel, ended)  # nothing is ever sent this way: what comes is the end
        with contextlib.suppress(OSError):
            self._channel.send(READY)


@dataclass(slots=True)
class _Worker:
    """One of the places that are to be filled. Instants are by the monotonic clock."""

    pid: int = 0
    channel: socket.socket | None = None
    began: float = 0.0
    failures: int = 0
    due: float | None = 0.0  # when it is to be started; none while it runs

    def forget(self) -> None:
        """It runs no more."""
        self.pid = 0
        if self.channel:
            self.channel.close()
            self.channel = None


class Supervisor:
    """``command`` gives the arguments of Python for a worker, from the file descriptor of its way to the parent."""

    def __init__(self, command: Callable[[int], Sequence[str]], count: int, drain_seconds: float = 0.0) -> None:
        self._command, self._patience = command, drain_seconds + LEAVING_SECONDS
        self._workers = [_Worker() for _ in range(count)]
        self._served = False  # any of them, ever
        self._deadline: float | None = None  # while leaving: then whoever is left is killed
        self._code = 0

    def run(self) -> int:
        """Until a signal has come and all are gone: the exit code.

        0 when all left in good order, 1 when one had to be killed or ended otherwise. While none has ever served, what
        is wrong with one is wrong with all: its settings, or a third failure, end all, with that one's code.
        """
        with _signals() as news:
            self._start_due()
            while self._deadline is None or any(worker.pid for worker in self._workers):
                self._wait(news)
                self._reap()
                self._start_due()
                self._kill_late()
        return self._code

    def _wait(self, news: socket.socket) -> None:
        """For a signal, a word of a worker, or the next thing that is due."""
        channels = {worker.channel: worker for worker in self._workers if worker.channel}
        due = [worker.due for worker in self._workers if worker.due is not None]
        instants = due if self._deadline is None else [self._deadline]
        seconds = max(0.0, min(instants) - time.monotonic()) if instants else None
        readable, _, _ = select.select([news, *channels], [], [], seconds)
        for one in readable:
            if one is news:
                self._told(news.recv(1_024))
            else:
                self._heard(channels[one])

    def _told(self, signals: bytes) -> None:
        for number in signals:
            if number in (signal.SIGTERM, signal.SIGINT):
                LOG.info("told to leave: %d workers are told", sum(bool(worker.pid) for worker in self._workers))
                self._leave(0)

    def _heard(self, worker: _Worker) -> None:
        if worker.channel is None:
            return
        if worker.channel.recv(16):
            self._served = True
            LOG.info("worker %d serves", worker.pid)
        else:  # it ends
            worker.channel.close()
            worker.channel = None

    def _reap(self) -> None:
        """Whoever has ended, orphans among them: in a container this process is everybody's parent in the end."""
        workers = {worker.pid: worker for worker in self._workers if worker.pid}
        for pid, code in _ended():
            if pid in workers:
                self._ended(workers[pid], code)

    def _ended(self, worker: _Worker, code: int) -> None:
        pid, lived = worker.pid, time.monotonic() - worker.began
        worker.forget()
        if self._deadline is None:
            self._failed(worker, f"worker {pid} ended with {code} after {lived:.0f} s", code, lived)
        elif code not in (0, -signal.SIGTERM):
            LOG.error("worker %d ended with %d", pid, code)
            self._code = self._code or 1

    def _failed(self, worker: _Worker, what: str, code: int, lived: float = 0.0) -> None:
        worker.failures = 0 if lived >= STEADY_SECONDS else worker.failures + 1
        if not self._served and (code == BAD_SETTINGS or worker.failures >= TRIES):
            LOG.error("%s, and none has ever served", what)
            self._leave(code if code > 0 else 1)
            return
        pause = min(LONGEST_PAUSE, PAUSE * 2 ** (worker.failures - 1)) if worker.failures else 0.0
        worker.due = time.monotonic() + pause
        LOG.error("%s: another follows in %g s", what, pause)

    def _start_due(self) -> None:
        for worker in self._workers:
            if self._deadline is None and worker.due is not None and worker.due <= time.monotonic():
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        worker.began, worker.due = time.monotonic(), None
        try:
            worker.channel, worker.pid = self._spawn()
        except OSError as error:  # no memory or descriptors, as when a worker was killed for its memory: it passes
            self._failed(worker, f"a worker could not be started ({error})", 1)

    def _spawn(self) -> tuple[socket.socket, int]:
        """Our end of the way to a new worker, and its process id. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                os.set_inheritable(theirs.fileno(), True)
                arguments = [sys.executable, *self._command(theirs.fileno())]
                return ours, os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0)
            except OSError:
                ours.close()
                raise

    def _leave(self, code: int) -> None:
        """Tell everybody; whoever is told again leaves at once."""
        self._code = self._code or code
        self._deadline = self._deadline or time.monotonic() + self._patience
        self._signal(signal.SIGTERM)

    def _kill_late(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._signal(signal.SIGKILL)
            self._deadline = time.monotonic() + LEAVING_SECONDS

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)  # it is ours until it has been reaped, so it is nobody else


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Signals as bytes to be read, each its number: nothing happens between any two instructions."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    with reader, writer:
        handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _ended() -> Iterator[tuple[int, int]]:
    """Children that have ended since the last time, each with its exit code; negative: by that signal."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)
