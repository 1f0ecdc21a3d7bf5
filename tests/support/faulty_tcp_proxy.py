"""TCP proxy with fault injection between a client and a server.

It keeps one free port of 127.0.0.1 for its lifetime and leaves no task and no socket behind. Data in flight at the
start of a fault waits or is lost, as on a real network; data is never reordered or invented.
"""

import asyncio
import socket
from contextlib import suppress

CHUNK_BYTES = 65_536  # a stalled connection buffers a few of them each way, then its sender has to wait


class FaultyTcpProxy:
    """Forwards connections to `target`, the path of a unix socket or (host, port)."""

    def __init__(self, target):
        self.target = target
        self.port = None
        self._port_holder = self._listener = None
        self._flowing = asyncio.Event()
        self._connections = set()

    async def __aenter__(self):
        # Bound but never listening: reserves the port while connections are refused.
        self._port_holder = _bind(0)
        self.port = self._port_holder.getsockname()[1]
        await self.restore()
        return self

    async def __aexit__(self, *_):
        await self.cut()
        self._port_holder.close()

    async def restore(self):
        """Forward again: stalled connections continue, cut ones have to reconnect."""
        self._flowing.set()
        self._listen()

    async def stall(self):
        """Keep connections open and accept new ones, but forward nothing, not even their ends."""
        self._flowing.clear()
        self._listen()

    async def cut(self):
        """Close all connections and refuse new ones."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _listen(self):
        """Accept without asyncio.Server, which leaks a connection if it is closed while accepting one."""
        if self._listener is None:
            self._listener = _bind(self.port)
            self._listener.listen()
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self):
        with suppress(BlockingIOError, ConnectionAbortedError):  # the client has already disconnected
            accepted, _ = self._listener.accept()
            task = asyncio.create_task(self._run_connection(accepted))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
            task.add_done_callback(lambda _: accepted.close())  # a task cancelled at once never started

    async def _run_connection(self, accepted):
        """Forward one connection until both sides have ended, one fails, or the proxy cuts it."""
        writers = []
        try:
            await self._flowing.wait()
            near_reader, near = await asyncio.open_connection(sock=accepted)
            writers.append(near)
            far_reader, far = await self._connect_target()
            writers.append(far)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(near_reader, far))
                pumps.create_task(self._pump(far_reader, near))
            for writer in writers:
                writer.close()  # flushes pending data
                await writer.wait_closed()
        except* OSError:
            pass  # a peer failed or is unreachable: the other side is aborted below
        finally:
            for writer in writers:
                writer.transport.abort()
            for writer in writers:
                with suppress(OSError):
                    await writer.wait_closed()

    async def _pump(self, reader, writer):
        while data := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        await self._flowing.wait()
        writer.write_eof()

    async def _connect_target(self):
        if isinstance(self.target, tuple):
            return await asyncio.open_connection(*self.target)
        return await asyncio.open_unix_connection(str(self.target))


def _bind(port):
    listener = socket.socket()
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener
