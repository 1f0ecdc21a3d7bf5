"""What a worker process is working on, in memory that it shares with the gateway.

It survives the worker's death: so the input that killed a worker, or on which it hangs, is known without a message for
every piece of work.
"""

import mmap
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_FORMAT = struct.Struct("=Qq")  # pieces of work begun so far, and the input of the present one


class WorkerProgress:
    """The count of pieces of work that a worker has begun, and the input of the present one; 0 while it waits."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _FORMAT.size)

    @property
    def count(self) -> int:
        """Pieces of work begun so far: a worker whose count stands still waits or hangs."""
        return int(_FORMAT.unpack_from(self._memory)[0])

    @property
    def current_input(self) -> int:
        """What ``begin`` was called with, or 0."""
        return int(_FORMAT.unpack_from(self._memory)[1])

    def begin(self, current_input: int) -> None:
        """Note, in the worker, that work on an input begins."""
        _FORMAT.pack_into(self._memory, 0, self.count + 1, current_input)

    def end(self) -> None:
        """Note, in the worker, that the work is done."""
        _FORMAT.pack_into(self._memory, 0, self.count, 0)

    def close(self) -> None:
        self._memory.close()


@contextmanager
def shared_memory() -> Iterator[int]:
    """Yield the descriptor of a file without a name, for both processes to map. Raises OSError."""
    with tempfile.TemporaryFile() as file:
        file.truncate(_FORMAT.size)
        yield file.fileno()
