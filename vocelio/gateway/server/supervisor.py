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

from vocelio.gateway.aio.backoff import Backoff

LOG = logging.getLogger(__name__)

STABLE_AFTER_SECONDS = 60.0  # a worker that has lived for so long is replaced at once
BACKOFF = Backoff(initial_seconds=0.5, max_seconds=30.0)  # before the restart of a worker that exited early
WORKER_EXIT_SECONDS = 15.0  # beside draining: a worker takes ten at most
READY_MESSAGE = b"."
SETTINGS_ERROR_EXIT_CODE = 2  # a worker's exit code: another try is of no use
MAX_START_ATTEMPTS = 3  # of a place, while none has ever served: a crowded machine may be too slow for the first


class SupervisorChannel:
    """A worker's way to its parent: the file descriptor that it was started with."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        os.set_inheritable(descriptor, False)

    def notify_ready(self, on_supervisor_exit: Callable[[], None]) -> None:
        """Say that this process serves; ``alone`` is called when the parent is gone."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._socket)
            self._socket.close()
            on_supervisor_exit()

        loop.add_reader(self._socket, ended)  # nothing is ever sent this way: what comes is the end
        with contextlib.suppress(OSError):
            self._socket.send(READY_MESSAGE)


@dataclass(slots=True)
class _Worker:
    """One of the places that are to be filled. Instants are by the monotonic clock."""

    pid: int = 0
    channel: socket.socket | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float | None = 0.0  # when it is to be started; none while it runs

    def mark_exited(self) -> None:
        """It runs no more."""
        self.pid = 0
        if self.channel:
            self.channel.close()
            self.channel = None


class Supervisor:
    """``command`` gives the arguments of Python for a worker, from the file descriptor of its way to the parent."""

    def __init__(self, command: Callable[[int], Sequence[str]], count: int, drain_seconds: float = 0.0) -> None:
        self._command, self._shutdown_timeout_seconds = command, drain_seconds + WORKER_EXIT_SECONDS
        self._workers = [_Worker() for _ in range(count)]
        self._any_ready = False  # any of them, ever
        self._deadline: float | None = None  # while leaving: then whoever is left is killed
        self._exit_code = 0

    def run(self) -> int:
        """Until a signal has come and all are gone: the exit code.

        0 when all left in good order, 1 when one had to be killed or ended otherwise. While none has ever served, what
        is wrong with one is wrong with all: its settings, or a third failure, end all, with that one's code.
        """
        with _signal_socket() as news:
            self._start_due()
            while self._deadline is None or any(worker.pid for worker in self._workers):
                self._wait(news)
                self._reap()
                self._start_due()
                self._kill_overdue()
        return self._exit_code

    def _wait(self, signals: socket.socket) -> None:
        """For a signal, a word of a worker, or the next thing that is due."""
        channels = {worker.channel: worker for worker in self._workers if worker.channel}
        due = [worker.start_at for worker in self._workers if worker.start_at is not None]
        instants = due if self._deadline is None else [self._deadline]
        seconds = max(0.0, min(instants) - time.monotonic()) if instants else None
        readable, _, _ = select.select([signals, *channels], [], [], seconds)
        for one in readable:
            if one is signals:
                self._on_signal(signals.recv(1_024))
            else:
                self._on_worker_message(channels[one])

    def _on_signal(self, signals: bytes) -> None:
        for number in signals:
            if number in (signal.SIGTERM, signal.SIGINT):
                LOG.info("told to leave: %d workers are told", sum(bool(worker.pid) for worker in self._workers))
                self._shut_down(0)

    def _on_worker_message(self, worker: _Worker) -> None:
        if worker.channel is None:
            return
        if worker.channel.recv(16):
            self._any_ready = True
            LOG.info("worker %d serves", worker.pid)
        else:  # it ends
            worker.channel.close()
            worker.channel = None

    def _reap(self) -> None:
        """Whoever has ended, orphans among them: in a container this process is everybody's parent in the end."""
        workers = {worker.pid: worker for worker in self._workers if worker.pid}
        for pid, code in _exited_children():
            if pid in workers:
                self._on_worker_exit(workers[pid], code)

    def _on_worker_exit(self, worker: _Worker, exit_code: int) -> None:
        pid, lived = worker.pid, time.monotonic() - worker.started_at
        worker.mark_exited()
        if self._deadline is None:
            self._schedule_restart(worker, f"worker {pid} ended with {exit_code} after {lived:.0f} s", exit_code, lived)
        elif exit_code not in (0, -signal.SIGTERM):
            LOG.error("worker %d ended with %d", pid, exit_code)
            self._exit_code = self._exit_code or 1

    def _schedule_restart(self, worker: _Worker, message: str, exit_code: int, lifetime_seconds: float = 0.0) -> None:
        worker.failures = 0 if lifetime_seconds >= STABLE_AFTER_SECONDS else worker.failures + 1
        if not self._any_ready and (exit_code == SETTINGS_ERROR_EXIT_CODE or worker.failures >= MAX_START_ATTEMPTS):
            LOG.error("%s, and none has ever served", message)
            self._shut_down(exit_code if exit_code > 0 else 1)
            return
        pause = BACKOFF.delay_seconds(worker.failures)
        worker.start_at = time.monotonic() + pause
        LOG.error("%s: another follows in %g s", message, pause)

    def _start_due(self) -> None:
        for worker in self._workers:
            if self._deadline is None and worker.start_at is not None and worker.start_at <= time.monotonic():
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        worker.started_at, worker.start_at = time.monotonic(), None
        try:
            worker.channel, worker.pid = self._spawn()
        except OSError as error:  # no memory or descriptors, as when a worker was killed for its memory: it passes
            self._schedule_restart(worker, f"a worker could not be started ({error})", 1)

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

    def _shut_down(self, exit_code: int) -> None:
        """Tell everybody; whoever is told again leaves at once."""
        self._exit_code = self._exit_code or exit_code
        self._deadline = self._deadline or time.monotonic() + self._shutdown_timeout_seconds
        self._signal_workers(signal.SIGTERM)

    def _kill_overdue(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._signal_workers(signal.SIGKILL)
            self._deadline = time.monotonic() + WORKER_EXIT_SECONDS

    def _signal_workers(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)  # it is ours until it has been reaped, so it is nobody else


@contextlib.contextmanager
def _signal_socket() -> Iterator[socket.socket]:
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


def _exited_children() -> Iterator[tuple[int, int]]:
    """Children that have ended since the last time, each with its exit code; negative: by that signal."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)
