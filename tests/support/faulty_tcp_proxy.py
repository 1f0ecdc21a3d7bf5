"""A TCP proxy with faults to order, between a client and the server that a test takes away from it.

It listens on one free port of 127.0.0.1 for all its life and leaves no task and no socket behind. What is on its way
when a fault begins waits, or is lost, as on a real line; nothing is ever reordered or made up.
"""

import asyncio
import socket
from contextlib import suppress

CHUNK_BYTES = 65_536  # bytes; a stalled connection holds a few of these each way, and then its sender has to wait


class FaultyTcpProxy:
    """Passes bytes to and from `target`, a unix socket's path or (host, port), until it is told otherwise."""

    def __init__(self, target):
        self.target = target
        self.port = None
        self._port_holder = self._listener = None
        self._flowing = asyncio.Event()
        self._connections = set()

    async def __aenter__(self):
        # Bound but never listening: keeps the port ours while it refuses connections.
        self._port_holder = _bind(0)
        self.port = self._port_holder.getsockname()[1]
        await self.restore()
        return self

    async def __aexit__(self, *_):
        await self.cut()
        self._port_holder.close()

    async def restore(self):
        """Everything passes again; what was stalled goes on, what was cut has to connect anew."""
        self._flowing.set()
        self._listen()

    async def stall(self):
        """Connections stay open and new ones are taken, but no byte and no end passes, either way."""
        self._flowing.clear()
        self._listen()

    async def cut(self):
        """Every connection is closed, every new one refused."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for link in self._connections:
            link.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _listen(self):
        """By hand: an asyncio.Server that is closed while it takes a connection in forgets that one, open."""
        if self._listener is None:
            self._listener = _bind(self.port)
            self._listener.listen()
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self):
        with suppress(BlockingIOError, ConnectionAbortedError):  # who asked has given up already
            taken, _ = self._listener.accept()
            link = asyncio.create_task(self._run_connection(taken))
            self._connections.add(link)
            link.add_done_callback(self._connections.discard)
            link.add_done_callback(lambda _: taken.close())  # a link that is cut at once never began

    async def _run_connection(self, taken):
        """One connection, to its end: when both sides have ended, or one is broken, or the line is cut."""
        ends = []
        try:
            await self._flowing.wait()
            near_reader, near = await asyncio.open_connection(sock=taken)
            ends.append(near)
            far_reader, far = await self._connect_target()
            ends.append(far)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(near_reader, far))
                pumps.create_task(self._pump(far_reader, near))
            for end in ends:
                end.close()  # with what it still has to send
                await end.wait_closed()
        except* OSError:
            pass  # a peer that broke off or is not there: the other side learns it by the end below
        finally:
            for end in ends:
                end.transport.abort()
            for end in ends:
                with suppress(OSError):
                    await end.wait_closed()

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
    place = socket.socket()
    place.setblocking(False)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", port))
    return place
