"""What a test sees of the machine, and waits for: tasks, threads, sockets, how late the event loop was.

The limits tell right from wrong on a machine that stands still for half a second, as one does that runs other tests.
"""

import asyncio
import threading
from contextlib import asynccontextmanager
from pathlib import Path

SOON_SECONDS = 3.0
"""Seconds that are right for what waits for nobody: a service that is slow to close takes five."""

MAX_LOOP_BLOCK_SECONDS = 1.0
"""Seconds from which something held the event loop: one call of Azure's SDK that waits for the service takes them."""


def thread_count():
    """The threads of this process, the SDK's among them."""
    return len(list(Path("/proc/self/task").iterdir()))


def socket_count():
    """The sockets of this process."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += str(descriptor.readlink()).startswith("socket:")
        except OSError:
            continue  # the listing's own
    return found


def resources_in_use():
    """Tasks, threads of Python and open files of this process."""
    return len(asyncio.all_tasks()), threading.active_count(), len([*Path("/proc/self/fd").iterdir()])


async def wait_until_at_most(value, limit, seconds=5.0):
    """Wait until ``value()`` is at most ``limit``."""
    async with asyncio.timeout(seconds):
        while value() > limit:  # noqa: ASYNC110  nobody tells when a thread of the SDK or a socket has ended
            await asyncio.sleep(0.02)


async def wait_until_equal(what, value):
    """Wait until ``what()`` is that, which is to be SOON."""
    async with asyncio.timeout(SOON_SECONDS):
        while what() != value:  # noqa: ASYNC110 (of another task's doing, which tells nobody)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def loop_not_blocked():
    """The event loop is not held by what is done meanwhile."""
    loop, worst = asyncio.get_running_loop(), 0.0

    async def watch():
        nonlocal worst
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            worst = max(worst, loop.time() - due)

    watching = asyncio.create_task(watch())
    try:
        yield
        await asyncio.sleep(0.02)  # what holds it to the end shows only afterwards
    finally:
        watching.cancel()
    assert worst < MAX_LOOP_BLOCK_SECONDS


@asynccontextmanager
async def silent_server():
    """The address of a server that accepts connections and says nothing on them."""
    writers = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
