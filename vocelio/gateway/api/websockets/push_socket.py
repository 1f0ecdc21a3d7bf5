"""A WebSocket on which only the server has something to say: sent as fast as it is read, ended when it is not.

Whoever listens must give a sign of life from time to time, any short text: a browser's line may be dead for a quarter
of an hour before the network says so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

GONE, SLOW, SILENT, OVER = 4001, 4002, 4003, 4004
"""Close codes: the key is no good any more; what was sent was not read; no sign of life; there is no more to come."""

POLICY = 1008
REASONS = {
    GONE: "the key is not good any more",
    SLOW: "what is sent is not read in time",
    SILENT: "there was no sign of life",
    OVER: "the call has ended",
    POLICY: "too many messages",
}

CLOSING_SECONDS = 1.0
MAX_RECEIVED = 20  # messages between two beats; longer ones than the server takes end the socket anyway


class Pace(msgspec.Struct, frozen=True):
    """In seconds: between two beats; until somebody is silent, and until somebody is too slow."""

    beat: float = 15.0
    silent: float = 45.0
    slow: float = 8.0  # and one to close: within ten it is gone


class Pushing:
    """One socket, which was accepted. ``take`` gives what is to be sent next; ``behind`` since when it is too much."""

    def __init__(
        self,
        socket: WebSocket,
        take: Callable[[], Awaitable[str | bytes]],
        behind: Callable[[], float | None],
        pace: Pace,
    ) -> None:
        self._socket, self._take, self._behind, self._pace = socket, take, behind, pace
        self._loop = asyncio.get_running_loop()
        self._ending: asyncio.Future[int] = self._loop.create_future()
        self._sending = asyncio.Lock()
        self._received = 0  # since the last beat

    def end(self, code: int) -> None:
        """Close the socket soon; only the first time counts."""
        if not self._ending.done():
            self._ending.set_result(code)

    async def run(self) -> None:
        """Until either side ends it."""
        work = [asyncio.ensure_future(one) for one in (self._send_all(), self._read(), self._beat())]
        try:
            ends: list[asyncio.Future[Any]] = [self._ending, *work]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in work:
                task.cancel()
            results = await asyncio.gather(*work, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | OSError | RuntimeError):
                raise result
        if self._ending.done():
            await self._close(self._ending.result())

    async def _close(self, code: int) -> None:
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self._socket.close(code, REASONS[code])
        except (TimeoutError, OSError, RuntimeError, WebSocketDisconnect):
            return  # who does not read does not see it either

    async def _send_all(self) -> None:
        while True:
            await self._send(await self._take())
            since = self._behind()
            if since is not None and self._loop.time() - since > self._pace.slow:
                self.end(SLOW)

    async def _send(self, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(self._pace.slow), self._sending:
                if isinstance(message, str):
                    await self._socket.send_text(message)
                else:
                    await self._socket.send_bytes(message)
        except TimeoutError:
            self.end(SLOW)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._received += 1
            if self._received > MAX_RECEIVED:
                self.end(POLICY)

    async def _beat(self) -> None:
        """Beat. Those without an answer are counted, not timed: while we stand still ourselves nobody is silent."""
        unanswered = 0
        while True:
            await asyncio.sleep(self._pace.beat)
            unanswered = 0 if self._received else unanswered + 1
            self._received = 0
            if unanswered * self._pace.beat >= self._pace.silent:
                self.end(SILENT)
            await self._send('{"message":"beat"}')
