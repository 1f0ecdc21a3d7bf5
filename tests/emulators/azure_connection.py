"""One WebSocket of the emulated service: what it sends, and what goes wrong with it."""

import asyncio

from aiohttp import WSCloseCode

from tests.emulators import azure_protocol as wire

SLOW_CLOSE_SECONDS = 5.0  # seconds
DRIP_SECONDS = 1.0  # seconds before each message, which is mostly 100 ms of sound
GOOD_MESSAGES = 2  # until a stall or an abrupt end
# Not among it: a binary message whose header is said to be longer than the message. The SDK (1.53) reads past the
# message's end then, and the process dies of it; nothing here can keep it from that.
GARBAGE = ("no header at all", "Path:speech.phrase\r\n\r\n{broken", b"\xff", "Path:unknown\r\n\r\n{}")
# What the service closes an open connection with when it will not serve another request on it.
CLOSE_CODES = {
    "401": (WSCloseCode.POLICY_VIOLATION, "Authentication error."),
    "429": (4429, "The request is throttled because you have exceeded the concurrent request limit allowed."),
    "500": (WSCloseCode.INTERNAL_ERROR, "Internal server error."),
}


class AzureConnection:
    """``fault`` counts for the present turn."""

    def __init__(self, request, socket):
        self._transport, self._socket = request.transport, socket
        self._outbox = asyncio.Queue()
        self._sent = 0
        self.fault = ""
        self._pump = asyncio.create_task(self._send_all())

    def begin(self, fault):
        """A turn begins; False when the service refuses it, with the connection."""
        self.fault, self._sent = fault, 0
        if fault == "refuse":
            self.abort()
        elif fault in CLOSE_CODES:
            self.close(*CLOSE_CODES[fault])
        else:
            return True
        return False

    def send(self, message):
        """Send a message, after those before it."""
        self._outbox.put_nowait(message)

    def close(self, code, reason):
        """Send a close frame, after what is to be sent before it."""
        self._outbox.put_nowait((code, reason))

    def abort(self):
        """Break the connection off, with a reset."""
        self._pump.cancel()
        self._transport.abort()

    async def aclose(self):
        """Answer the client's close, or break off what is left."""
        if self.fault == "slow_close":
            await asyncio.sleep(SLOW_CLOSE_SECONDS)
        self._pump.cancel()
        await self._socket.close()

    async def _send_all(self):
        while True:
            message = await self._outbox.get()
            try:
                await self._send(message)
            except ConnectionError:
                return

    async def _send(self, message):
        if isinstance(message, tuple):
            await self._socket.close(code=message[0], message=message[1].encode())
            return
        self._sent += 1
        match self.fault:
            case "silent":
                return
            case "stall" if self._sent > GOOD_MESSAGES:
                return
            case "abrupt" if self._sent > GOOD_MESSAGES:
                self._transport.abort()
                return
            case "garbage" if self._sent > 1:
                message = GARBAGE[self._sent % len(GARBAGE)]
            case "drip":
                await asyncio.sleep(DRIP_SECONDS)
            case "slow_close" if isinstance(message, str) and wire.is_turn_end(message):
                await asyncio.sleep(SLOW_CLOSE_SECONDS)
        if isinstance(message, bytes):
            await self._socket.send_bytes(message)
        else:
            await self._socket.send_str(message)
