"""Supervisor of worker processes on one port: starts them, restarts those that die, and replaces them on SIGHUP.

The supervisor serves no requests and knows nothing about calls, so little in it can fail. It binds a socket for each
worker, with SO_REUSEPORT, and the kernel distributes the connections: of 200 connections to 4 workers each got 38 to
60, while with one shared socket they got 31 to 87, and a worker that is full before the others rejects calls. A worker
listens when it is ready, and its successor inherits its socket, so that no connection is refused while workers are
replaced. If the only worker dies, connections wait in the kernel until it has been restarted, for a second or two. If
one of several dies, its socket is closed, and the others get its connections.

The supervisor and each worker share a socket pair. The worker reports on it what it does (READY_MESSAGE,
CLOSED_MESSAGE); when it closes, the worker knows that the supervisor has exited, however that happened, and drains as
if it had received SIGTERM. Every worker leads a process group of its own, so that Ctrl-C reaches only the supervisor
and the shutdown is always orderly.
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
from typing import Literal

from vocelio.gateway.aio.backoff import Backoff

LOG = logging.getLogger(__name__)

STABLE_AFTER_SECONDS = 60.0  # a worker that has run for this long is restarted at once
BACKOFF = Backoff(initial_seconds=0.5, max_seconds=30.0)  # before the restart of a worker that exited early
WORKER_EXIT_SECONDS = 15.0  # in addition to draining; a worker needs 10 s at most
READY_TIMEOUT_SECONDS = 120.0  # for a successor; one that takes longer is killed, and the worker stays
READY_MESSAGE = b"r"
CLOSED_MESSAGE = b"c"  # the worker has stopped accepting connections
SETTINGS_ERROR_EXIT_CODE = 2  # of a worker: a restart would not help, and the worker has said why
MAX_START_ATTEMPTS = 3  # of a worker while none has ever been ready: a busy machine may be too slow for the first

StartTask = Literal["first", "upgrade", "none"]
"""What a worker does before it serves. The ``first`` one prepares the database and announces the gateway, before any
other is started; the first successor of an ``upgrade`` migrates the database; all others do nothing."""


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
        self._send(READY_MESSAGE)

    def notify_closed(self) -> None:
        """Report that this process has stopped accepting connections."""
        self._send(CLOSED_MESSAGE)

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # the supervisor has exited
            self._socket.send(message)


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker process. Instants are monotonic time."""

    pid: int
    channel: socket.socket | None
    started_at: float
    kill_at: float | None = None  # when it is overdue

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)  # not reaped yet, so the id cannot have been reused

    def close_channel(self) -> None:
        if self.channel:
            self.channel.close()
            self.channel = None


@dataclass(slots=True, eq=False)
class _Slot:
    """One of the workers to keep running, with its socket. ``successor`` is to replace ``current`` when it is ready."""

    listener: socket.socket | None = None
    current: _Worker | None = None
    successor: _Worker | None = None
    failures: int = 0
    start_at: float | None = 0.0  # monotonic time when to start it; None while it runs

    def close_listener(self) -> None:
        if self.listener:
            self.listener.close()
            self.listener = None


@dataclass(slots=True)
class _Upgrade:
    """The replacement of all workers, one after the other."""

    remaining: list[_Slot]
    migrated: bool = False


class Supervisor:
    """Keeps ``count`` workers running.

    Args:
        command: Gives Python's arguments for a worker: its channel's and its listener's file descriptor, and its task.
        bind: Binds a socket, on which the worker will listen.
        count: Number of workers.
        max_drain_seconds: The longest that a worker may drain after SIGTERM.
        drain_seconds: The longest that it may take once it has stopped accepting connections.
    """

    def __init__(
        self,
        command: Callable[[int, int, StartTask], Sequence[str]],
        bind: Callable[[], socket.socket],
        count: int,
        max_drain_seconds: float = 0.0,
        drain_seconds: float = 0.0,
    ) -> None:
        self._command, self._bind = command, bind
        self._max_drain_seconds, self._drain_seconds = max_drain_seconds, drain_seconds
        self._slots = [_Slot() for _ in range(count)]
        self._retiring: list[_Worker] = []  # workers that have been replaced and are draining
        self._upgrade: _Upgrade | None = None
        self._any_ready = False  # whether any worker has ever been ready
        self._is_shutting_down = False
        self._exit_code = 0

    def run(self) -> int:
        """Run until a signal has come and all workers have exited; return the exit code.

        0 if all exited in an orderly way, 1 if one had to be killed or failed. While no worker has ever been ready, a
        failure of one is a failure of all: a settings error, or a third failure, stops them all with that worker's
        code.
        """
        with _signal_socket() as signals:
            self._start_due()
            while not self._is_shutting_down or self._workers():
                self._wait(signals)
                self._reap()
                self._start_due()
                self._kill_overdue()
        for slot in self._slots:
            slot.close_listener()
        return self._exit_code

    def _workers(self) -> list[_Worker]:
        """Return all processes that have not been reaped."""
        serving = [worker for slot in self._slots for worker in (slot.current, slot.successor) if worker]
        return [*serving, *self._retiring]

    def _wait(self, signals: socket.socket) -> None:
        """Wait for a signal, a message of a worker, or the next deadline."""
        workers = self._workers()
        channels = {worker.channel: worker for worker in workers if worker.channel}
        instants = [worker.kill_at for worker in workers if worker.kill_at is not None]
        if not self._is_shutting_down:
            instants += [slot.start_at for slot in self._startable_slots() if slot.start_at is not None]
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
                LOG.info("shutting down %d workers", len(self._workers()))
                self._shut_down(0)
            elif number == signal.SIGHUP:
                self._start_upgrade()

    # Messages and exits of workers

    def _on_worker_message(self, worker: _Worker) -> None:
        if worker.channel is None:
            return
        message = worker.channel.recv(16)
        if not message:  # it exits
            worker.close_channel()
        if READY_MESSAGE in message:
            self._any_ready = True
            LOG.info("worker %d is ready", worker.pid)
            self._promote_successor(worker)
        if CLOSED_MESSAGE in message:
            self._on_worker_closed(worker)

    def _on_worker_closed(self, worker: _Worker) -> None:
        """Close the listener of a worker that hands over to other gateways: connections would wait there in vain."""
        for slot in self._slots:
            if slot.current is worker and self._is_shutting_down:
                slot.close_listener()
        if worker.kill_at is not None:
            worker.kill_at = min(worker.kill_at, time.monotonic() + self._drain_seconds + WORKER_EXIT_SECONDS)

    def _reap(self) -> None:
        """Reap exited children, orphans included: in a container this process becomes the parent of all orphans."""
        for pid, code in _exited_children():
            for worker in self._workers():
                if worker.pid == pid:
                    worker.close_channel()
                    self._on_worker_exit(worker, code)

    def _on_worker_exit(self, worker: _Worker, exit_code: int) -> None:
        lifetime_seconds = time.monotonic() - worker.started_at
        message = f"worker {worker.pid} exited with {exit_code} after {lifetime_seconds:.0f} s"
        failed = exit_code not in (0, -signal.SIGTERM)
        slot = next((slot for slot in self._slots if worker in (slot.current, slot.successor)), None)
        if slot is None:
            self._retiring.remove(worker)
            if failed:
                LOG.error("%s, while it was being replaced", message)
        elif slot.successor is worker:
            slot.successor = None
            if not self._is_shutting_down:
                self._abort_upgrade(slot, message)
        else:
            slot.current = None
            self._on_current_exit(slot, message, exit_code, lifetime_seconds)
        if self._is_shutting_down and failed:
            self._exit_code = self._exit_code or 1

    def _on_current_exit(self, slot: _Slot, message: str, exit_code: int, lifetime_seconds: float) -> None:
        if self._is_shutting_down:
            slot.close_listener()  # connections go to the workers that still drain
            if exit_code not in (0, -signal.SIGTERM):
                LOG.error("%s, during shutdown", message)
            return
        if any(other.current for other in self._slots if other is not slot):
            slot.close_listener()
        if slot.successor is None:
            self._schedule_restart(slot, message, exit_code, lifetime_seconds)
        else:
            LOG.error("%s; its successor is starting", message)

    def _schedule_restart(self, slot: _Slot, message: str, exit_code: int, lifetime_seconds: float = 0.0) -> None:
        slot.failures = 0 if lifetime_seconds >= STABLE_AFTER_SECONDS else slot.failures + 1
        if not self._any_ready and exit_code == SETTINGS_ERROR_EXIT_CODE:
            self._shut_down(exit_code)
            return
        if not self._any_ready and slot.failures >= MAX_START_ATTEMPTS:
            LOG.error("%s, and no worker has ever been ready; shutting down", message)
            self._shut_down(exit_code if exit_code > 0 else 1)
            return
        delay_seconds = BACKOFF.delay_seconds(slot.failures)
        slot.start_at = time.monotonic() + delay_seconds
        LOG.error("%s; restarting in %g s", message, delay_seconds)

    # Starting workers

    def _startable_slots(self) -> Sequence[_Slot]:
        """Return the slots whose worker may be started: until one is ready, only the first."""
        return self._slots if self._any_ready else self._slots[:1]

    def _start_due(self) -> None:
        for slot in self._startable_slots():
            if not self._is_shutting_down and slot.start_at is not None and slot.start_at <= time.monotonic():
                slot.start_at = None
                try:
                    slot.current = self._spawn(slot, "none" if self._any_ready else "first")
                except OSError as error:  # no memory or descriptors, as after a worker was killed for its memory
                    self._schedule_restart(slot, f"a worker could not be started ({error})", 1)

    def _spawn(self, slot: _Slot, task: StartTask) -> _Worker:
        """Start a process in the slot. Raises OSError."""
        slot.listener = slot.listener or self._bind()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                os.set_inheritable(theirs.fileno(), True)
                os.set_inheritable(slot.listener.fileno(), True)
                arguments = [sys.executable, *self._command(theirs.fileno(), slot.listener.fileno(), task)]
                pid = os.posix_spawn(sys.executable, arguments, os.environ, setpgroup=0)
            except OSError:
                ours.close()
                raise
            finally:
                os.set_inheritable(slot.listener.fileno(), False)
        return _Worker(pid, ours, time.monotonic())

    # Replacing workers

    def _start_upgrade(self) -> None:
        """Replace all workers: each successor starts with the installed version, and must be ready first."""
        if self._is_shutting_down or self._upgrade or not self._any_ready:
            LOG.warning("SIGHUP ignored: the workers are being started, replaced or stopped")
            return
        LOG.info("replacing %d workers", len(self._slots))
        self._upgrade = _Upgrade(list(self._slots))
        self._replace_next()

    def _replace_next(self) -> None:
        if self._upgrade is None:
            return
        if not self._upgrade.remaining:
            LOG.info("all workers have been replaced")
            self._upgrade = None
            return
        slot = self._upgrade.remaining.pop(0)
        try:
            slot.successor = self._spawn(slot, "none" if self._upgrade.migrated else "upgrade")
        except OSError as error:
            self._abort_upgrade(slot, f"a worker could not be started ({error})")
            return
        slot.start_at = None
        slot.successor.kill_at = time.monotonic() + READY_TIMEOUT_SECONDS

    def _promote_successor(self, worker: _Worker) -> None:
        """Let the successor that is ready take its predecessor's place, if it is one."""
        for slot in self._slots:
            if slot.successor is worker:
                if slot.current:
                    self._stop(slot.current)
                    self._retiring.append(slot.current)
                worker.kill_at = None
                slot.current, slot.successor, slot.failures = worker, None, 0
                if self._upgrade:
                    self._upgrade.migrated = True
                self._replace_next()

    def _abort_upgrade(self, slot: _Slot, reason: str) -> None:
        self._upgrade = None
        LOG.error("%s before it was ready; the workers that run are kept", reason)
        if slot.current is None:
            slot.start_at = time.monotonic()

    # Stopping workers

    def _shut_down(self, exit_code: int) -> None:
        """Send SIGTERM to all workers; one that gets it again exits at once."""
        self._exit_code = self._exit_code or exit_code
        self._is_shutting_down = True
        for slot in self._slots:
            if slot.current is None and slot.successor is None:
                slot.close_listener()
        for worker in self._workers():
            self._stop(worker)

    def _stop(self, worker: _Worker) -> None:
        worker.send_signal(signal.SIGTERM)
        worker.kill_at = time.monotonic() + self._max_drain_seconds + WORKER_EXIT_SECONDS

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for worker in self._workers():
            if worker.kill_at is not None and now >= worker.kill_at:
                LOG.error("worker %d has not exited in time; killing it", worker.pid)
                worker.send_signal(signal.SIGKILL)
                worker.kill_at = now + WORKER_EXIT_SECONDS


@contextlib.contextmanager
def _signal_socket() -> Iterator[socket.socket]:
    """Deliver signals as bytes on a socket, so that no handler runs between two instructions."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
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
