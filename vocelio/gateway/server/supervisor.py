"""Supervisor of worker processes on one port: starts them, restarts those that die, and forwards signals.

The supervisor serves no requests and knows nothing about calls, so little in it can fail. Each worker listens on a
socket of its own with SO_REUSEPORT, and the kernel distributes the connections: of 200 connections to 4 workers each
got 38 to 60, while with one inherited socket they got 31 to 87, and a worker that is full before the others rejects
calls. Connections in the accept queue of a worker that dies are lost, but that is only a few milliseconds' worth.

The supervisor and each worker share a socket pair. The worker reports on it that it is ready; when it closes, the
worker knows that the supervisor has exited, however that happened, and drains as if it had received SIGTERM. Every
worker leads a process group of its own, so that Ctrl-C reaches only the supervisor and the shutdown is always orderly.
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

STABLE_AFTER_SECONDS = 60.0  # a worker that has run for this long is restarted at once
BACKOFF = Backoff(initial_seconds=0.5, max_seconds=30.0)  # before the restart of a worker that exited early
WORKER_EXIT_SECONDS = 15.0  # in addition to draining; a worker needs 10 s at most
READY_MESSAGE = b"."
SETTINGS_ERROR_EXIT_CODE = 2  # of a worker: a restart would not help
MAX_START_ATTEMPTS = 3  # of a worker while none has ever been ready: a busy machine may be too slow for the first


class SupervisorChannel:
    """A worker's connection to its supervisor, over the file descriptor that it was started with."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        os.set_inheritable(descriptor, False)

    def notify_ready(self, on_supervisor_exit: Callable[[], None]) -> None:
        """Report that this process is ready; ``on_supervisor_exit`` is called when the supervisor has exited."""
        loop = asyncio.get_running_loop()

        def on_closed() -> None:
            loop.remove_reader(self._socket)
            self._socket.close()
            on_supervisor_exit()

        loop.add_reader(self._socket, on_closed)  # the supervisor never sends: readable means closed
        with contextlib.suppress(OSError):
            self._socket.send(READY_MESSAGE)


@dataclass(slots=True)
class _Worker:
    """One of the workers to keep running. Instants are monotonic time."""

    pid: int = 0
    channel: socket.socket | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float | None = 0.0  # when to start it; None while it runs

    def mark_exited(self) -> None:
        """Record that the process has exited."""
        self.pid = 0
        if self.channel:
            self.channel.close()
            self.channel = None


class Supervisor:
    """Keeps ``count`` workers running. ``command`` gives Python's arguments for a worker's file descriptor."""

    def __init__(self, command: Callable[[int], Sequence[str]], count: int, drain_seconds: float = 0.0) -> None:
        self._command, self._shutdown_timeout_seconds = command, drain_seconds + WORKER_EXIT_SECONDS
        self._workers = [_Worker() for _ in range(count)]
        self._any_ready = False  # whether any worker has ever been ready
        self._deadline: float | None = None  # during shutdown: when to kill the remaining workers
        self._exit_code = 0

    def run(self) -> int:
        """Run until a signal has come and all workers have exited; return the exit code.

        0 if all exited in an orderly way, 1 if one had to be killed or failed. While no worker has ever been ready, a
        failure of one is a failure of all: a settings error, or a third failure, stops them all with that worker's
        code.
        """
        with _signal_socket() as signals:
            self._start_due()
            while self._deadline is None or any(worker.pid for worker in self._workers):
                self._wait(signals)
                self._reap()
                self._start_due()
                self._kill_overdue()
        return self._exit_code

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, a message of a worker, or the next deadline."""
        channels = {worker.channel: worker for worker in self._workers if worker.channel}
        due = [worker.start_at for worker in self._workers if worker.start_at is not None]
        instants = due if self._deadline is None else [self._deadline]
        seconds = max(0.0, min(instants) - time.monotonic()) if instants else None
        readable, _, _ = select.select([signals, *channels], [], [], seconds)
        for ready in readable:
            if ready is signals:
                self._on_signal(signals.recv(1_024))
            else:
                self._on_worker_message(channels[ready])

    def _on_signal(self, signals: bytes) -> None:
        for number in signals:
            if number in (signal.SIGTERM, signal.SIGINT):
                LOG.info("shutting down %d workers", sum(bool(worker.pid) for worker in self._workers))
                self._shut_down(0)

    def _on_worker_message(self, worker: _Worker) -> None:
        if worker.channel is None:
            return
        if worker.channel.recv(16):
            self._any_ready = True
            LOG.info("worker %d is ready", worker.pid)
        else:  # it exits
            worker.channel.close()
            worker.channel = None

    def _reap(self) -> None:
        """Reap exited children, orphans included: in a container this process becomes the parent of all orphans."""
        workers = {worker.pid: worker for worker in self._workers if worker.pid}
        for pid, code in _exited_children():
            if pid in workers:
                self._on_worker_exit(workers[pid], code)

    def _on_worker_exit(self, worker: _Worker, exit_code: int) -> None:
        pid, lifetime_seconds = worker.pid, time.monotonic() - worker.started_at
        worker.mark_exited()
        if self._deadline is None:
            message = f"worker {pid} exited with {exit_code} after {lifetime_seconds:.0f} s"
            self._schedule_restart(worker, message, exit_code, lifetime_seconds)
        elif exit_code not in (0, -signal.SIGTERM):
            LOG.error("worker %d exited with %d during shutdown", pid, exit_code)
            self._exit_code = self._exit_code or 1

    def _schedule_restart(self, worker: _Worker, message: str, exit_code: int, lifetime_seconds: float = 0.0) -> None:
        worker.failures = 0 if lifetime_seconds >= STABLE_AFTER_SECONDS else worker.failures + 1
        if not self._any_ready and (exit_code == SETTINGS_ERROR_EXIT_CODE or worker.failures >= MAX_START_ATTEMPTS):
            LOG.error("%s, and no worker has ever been ready; shutting down", message)
            self._shut_down(exit_code if exit_code > 0 else 1)
            return
        delay_seconds = BACKOFF.delay_seconds(worker.failures)
        worker.start_at = time.monotonic() + delay_seconds
        LOG.error("%s; restarting in %g s", message, delay_seconds)

    def _start_due(self) -> None:
        for worker in self._workers:
            if self._deadline is None and worker.start_at is not None and worker.start_at <= time.monotonic():
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        worker.started_at, worker.start_at = time.monotonic(), None
        try:
            worker.channel, worker.pid = self._spawn()
        except OSError as error:  # no memory or descriptors, as after a worker was killed for its memory: temporary
            self._schedule_restart(worker, f"a worker could not be started ({error})", 1)

    def _spawn(self) -> tuple[socket.socket, int]:
        """Start a process; return our end of the socket pair and the process id. Raises OSError."""
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
        """Send SIGTERM to all workers; one that gets it again exits at once."""
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
                os.kill(worker.pid, number)  # not reaped yet, so the id cannot have been reused


@contextlib.contextmanager
def _signal_socket() -> Iterator[socket.socket]:
    """Deliver signals as bytes on a socket, so that no handler runs between two instructions."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    with reader, writer:
        handlers = {number: signal.signal(number, lambda *_: None) for number in numbers}
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _exited_children() -> Iterator[tuple[int, int]]:
    """Yield the children that have exited, with their exit codes; a negative one is the signal that killed it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            yield pid, os.waitstatus_to_exitcode(status)
