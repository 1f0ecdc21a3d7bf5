"""Checks of tasks, threads, sockets, processes and event loop lag, and helpers that wait for them.

The limits hold on a machine that stalls for half a second, as one that runs other tests does.
"""

import asyncio
import threading
from contextlib import asynccontextmanager
from pathlib import Path

SOON_SECONDS = 3.0
"""For operations that must not wait for a service: one that is slow to close takes 5 s."""

MAX_LOOP_BLOCK_SECONDS = 1.0
"""Lag from which the event loop was blocked: a call of Azure's SDK that waits for the service blocks it this long."""


def thread_count():
    """Return the number of threads of this process, the SDK's included."""
    return len(list(Path("/proc/self/task").iterdir()))


def socket_count():
    """Return the number of sockets of this process."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            count += str(descriptor.readlink()).startswith("socket:")
        except OSError:
            continue  # the listing's own descriptor
    return count


def resources_in_use():
    """Return the numbers of tasks, Python threads and open files of this process."""
    return len(asyncio.all_tasks()), threading.active_count(), len([*Path("/proc/self/fd").iterdir()])


def process_exists(pid):
    """Return whether there is such a process, possibly a zombie."""
    return Path(f"/proc/{pid}").exists()


async def read_to_end(reader):
    """Read until the other side closes or resets the connection."""
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def wait_until_at_most(value, limit, seconds=5.0):
    """Wait until ``value()`` is at most ``limit``."""
    async with asyncio.timeout(seconds):
        while value() > limit:  # noqa: ASYNC110  the end of an SDK thread or a socket is not signaled
            await asyncio.sleep(0.02)


async def wait_until_equal(value, expected):
    """Wait until ``value()`` equals ``expected``, at most SOON_SECONDS."""
    async with asyncio.timeout(SOON_SECONDS):
        while value() != expected:  # noqa: ASYNC110 (changed by another task, without a signal)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def loop_not_blocked():
    """Assert that the event loop is not blocked meanwhile."""
    loop, max_lag_seconds = asyncio.get_running_loop(), 0.0

    async def watch():
        nonlocal max_lag_seconds
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            max_lag_seconds = max(max_lag_seconds, loop.time() - due)

    watcher = asyncio.create_task(watch())
    try:
        yield
        await asyncio.sleep(0.02)  # a block at the end shows only afterwards
    finally:
        watcher.cancel()
    assert max_lag_seconds < MAX_LOOP_BLOCK_SECONDS


@asynccontextmanager
async def silent_server():
    """Yield the URL of a server that accepts connections and never responds."""
    writers = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
