"""A WebSocket on which only the server sends: messages as fast as the client reads, heartbeats, and close codes.

The client must answer heartbeats with any short text: a dead network connection may otherwise go unnoticed for a
quarter of an hour.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from vocelio.gateway.close_codes import CloseCode

CLOSE_REASONS: dict[CloseCode, str] = {
    CloseCode.POLICY_VIOLATION: "too many messages",
    CloseCode.KEY_REVOKED: "the API key is no longer valid",
    CloseCode.SEND_TIMEOUT: "messages were not read in time",
    CloseCode.IDLE_TIMEOUT: "heartbeats were not answered",
    CloseCode.CALL_ENDED: "the call has ended",
}

CLOSE_TIMEOUT_SECONDS = 1.0
MAX_RECEIVED_MESSAGES = 20  # between two heartbeats; a message larger than the server's limit closes the socket anyway


class HeartbeatSettings(msgspec.Struct, frozen=True):
    """The interval of heartbeats, and the time until a silent or a slow client is disconnected."""

    interval_seconds: float = 15.0
    idle_timeout_seconds: float = 45.0
    send_timeout_seconds: float = 8.0  # and CLOSE_TIMEOUT_SECONDS: a slow client is gone within ten


class PushSocket:
    """Sends on an accepted WebSocket.

    ``get`` waits for the next message; ``blocked_since`` returns the loop time since when the queue behind it has been
    full, or None.
    """

    def __init__(
        self,
        socket: WebSocket,
        get: Callable[[], Awaitable[str | bytes]],
        blocked_since: Callable[[], float | None],
        heartbeat: HeartbeatSettings,
    ) -> None:
        self._socket, self._get, self._blocked_since, self._heartbeat = socket, get, blocked_since, heartbeat
        self._loop = asyncio.get_running_loop()
        self._close_code: asyncio.Future[CloseCode] = self._loop.create_future()
        self._send_lock = asyncio.Lock()
        self._received_messages = 0  # since the last heartbeat

    def request_close(self, code: CloseCode) -> None:
        """Close the socket soon. Only the first code counts."""
        if not self._close_code.done():
            self._close_code.set_result(code)

    async def run(self) -> None:
        """Send until either side closes the socket."""
        tasks = [asyncio.ensure_future(loop) for loop in (self._send_all(), self._read(), self._send_heartbeats())]
        try:
            ends: list[asyncio.Future[Any]] = [self._close_code, *tasks]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | OSError | RuntimeError):
                raise result
        if self._close_code.done():
            await self._close(self._close_code.result())

    async def _close(self, code: CloseCode) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await self._socket.close(code, CLOSE_REASONS[code])
        except (TimeoutError, OSError, RuntimeError, WebSocketDisconnect):
            return  # a client that does not read does not see the close code either

    async def _send_all(self) -> None:
        while True:
            await self._send(await self._get())
            since = self._blocked_since()
            if since is not None and self._loop.time() - since > self._heartbeat.send_timeout_seconds:
                self.request_close(CloseCode.SEND_TIMEOUT)

    async def _send(self, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(self._heartbeat.send_timeout_seconds), self._send_lock:
                if isinstance(message, str):
                    await self._socket.send_text(message)
                else:
                    await self._socket.send_bytes(message)
        except TimeoutError:
            self.request_close(CloseCode.SEND_TIMEOUT)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._received_messages += 1
            if self._received_messages > MAX_RECEIVED_MESSAGES:
                self.request_close(CloseCode.POLICY_VIOLATION)

    async def _send_heartbeats(self) -> None:
        """Count unanswered heartbeats instead of timing them, so that a stalled process disconnects no client."""
        unanswered = 0
        while True:
            await asyncio.sleep(self._heartbeat.interval_seconds)
            unanswered = 0 if self._received_messages else unanswered + 1
            self._received_messages = 0
            if unanswered * self._heartbeat.interval_seconds >= self._heartbeat.idle_timeout_seconds:
                self.request_close(CloseCode.IDLE_TIMEOUT)
            await self._send('{"message":"heartbeat"}')
