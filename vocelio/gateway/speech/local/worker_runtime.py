"""The worker's side of a speech worker process: its connection to the gateway, and its limits.

A worker parses untrusted texts and sounds with C libraries, so it is treated as if it could be taken over: it has no
secrets in its environment (``worker_process``), inherits no descriptor but its socket, and is limited here. It runs at
a lower priority, so that speech never delays a call's audio, and exits when the gateway does.
"""

import os
import resource
import signal
import socket
import sys
from typing import Generic, TypeVar

import msgspec

from vocelio.gateway.speech.local import ipc
from vocelio.gateway.speech.local.worker_progress import WorkerProgress

NICENESS = 5

MAX_MEMORY_BYTES = 2 << 30
"""Address space: models and libraries take a fifth of that, 24 utterances 0.1 GB."""

MAX_FILE_BYTES = 16 << 20
"""Of a file that the worker writes: a decoder's dictionary has a few kilobytes."""

_READ_BYTES = 1 << 16

RequestT = TypeVar("RequestT")


class GatewayConnection(Generic[RequestT]):
    """The socket on standard input, and the shared memory whose descriptor is the first argument."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[RequestT]) -> None:
        self._socket = socket.socket(fileno=sys.stdin.fileno())
        self._frame_reader = ipc.FrameReader(decoder)
        self.progress = WorkerProgress(int(sys.argv[1]))

    def send(self, report: ipc.Message) -> None:
        """Send a report; exit if the gateway has exited. Never raises, so that C libraries may call it."""
        try:
            self._socket.sendall(ipc.encode_message(report))
        except OSError:
            os._exit(0)

    def receive(self, wait: bool = True) -> list[RequestT] | None:
        """Return the requests that have come, or None if the gateway has exited; ``wait`` for data if there is none."""
        try:
            data = self._socket.recv(_READ_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        return list(self._frame_reader.feed(data)) if data else None


def prepare_worker() -> None:
    """Ignore Ctrl-C, which reaches the whole process group (the gateway decides), and limit this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    _silence_libraries()
    for limit, value in (
        (resource.RLIMIT_CORE, 0),  # it would contain what callers say
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
    ):
        hard = resource.getrlimit(limit)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (lowest, lowest))


def _silence_libraries() -> None:
    """Discard what C libraries write to standard error: a text could make them fill the log. Python's errors remain."""
    sys.stderr = os.fdopen(os.dup(2), "w")
    discarded = os.open(os.devnull, os.O_WRONLY)
    os.dup2(discarded, 2)
    os.close(discarded)
