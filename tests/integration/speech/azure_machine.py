"""What a test sees of the machine: threads, sockets, how late the event loop was; and a host that never answers."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path


def threads():
    """The threads of this process, the SDK's among them."""
    return len(list(Path("/proc/self/task").iterdir()))


def sockets():
    """The sockets of this process."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += str(descriptor.readlink()).startswith("socket:")
        except OSError:
            continue  # the listing's own
    return found


async def settles(value, limit, seconds=5.0):
    """Wait until ``value()`` is at most ``limit``."""
    async with asyncio.timeout(seconds):
        while value() > limit:  # noqa: ASYNC110  nobody tells when a thread of the SDK or a socket has ended
            await asyncio.sleep(0.02)


@asynccontextmanager
async def lateness():
    """How late the event loop was at worst, as the only item of a list, in seconds."""
    loop, worst = asyncio.get_running_loop(), [0.0]

    async def watch():
        while True:
            due = loop.time() + 0.01
            await asyncio.sleep(0.01)
            worst[0] = max(worst[0], loop.time() - due)

    watching = asyncio.create_task(watch())
    try:
        yield worst
    finally:
        watching.cancel()


@asynccontextmanager
async def black_hole():
    """The address of a server that accepts connections and says nothing on them."""
    writers = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
