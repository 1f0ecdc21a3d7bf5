"""One WebSocket of the emulated Azure service: its send queue and injected faults."""

import asyncio

from aiohttp import WSCloseCode

from tests.emulators import azure_protocol as wire

SLOW_CLOSE_SECONDS = 5.0
DRIP_SECONDS = 1.0  # before each message, which is usually 100 ms of audio
GOOD_MESSAGES = 2  # before a stall or an abrupt end
# Not included: a binary message with a header length beyond its end. The SDK (1.53) reads past the end of the message,
# which crashes the process.
GARBAGE = ("no header at all", "Path:speech.phrase\r\n\r\n{broken", b"\xff", "Path:unknown\r\n\r\n{}")
# Close codes with which the service rejects another request on an open connection.
CLOSE_CODES = {
    "401": (WSCloseCode.POLICY_VIOLATION, "Authentication error."),
    "429": (4429, "The request is throttled because you have exceeded the concurrent request limit allowed."),
    "500": (WSCloseCode.INTERNAL_ERROR, "Internal server error."),
}


class AzureConnection:
    """One connection; ``fault`` applies to the current turn."""

    def __init__(self, request, socket):
        self._transport, self._socket = request.transport, socket
        self._send_queue = asyncio.Queue()
        self._sent = 0
        self.fault = ""
        self._send_task = asyncio.create_task(self._send_all())

    def begin(self, fault):
        """Start a turn; return False if a fault rejects it and ends the connection."""
        self.fault, self._sent = fault, 0
        if fault == "refuse":
            self.abort()
        elif fault in CLOSE_CODES:
            self.close(*CLOSE_CODES[fault])
        else:
            return True
        return False

    def send(self, message):
        """Enqueue a message."""
        self._send_queue.put_nowait(message)

    def close(self, code, reason):
        """Enqueue a close frame."""
        self._send_queue.put_nowait((code, reason))

    def abort(self):
        """Reset the connection."""
        self._send_task.cancel()
        self._transport.abort()

    async def aclose(self):
        """Close the socket and drop unsent messages."""
        if self.fault == "slow_close":
            await asyncio.sleep(SLOW_CLOSE_SECONDS)
        self._send_task.cancel()
        await self._socket.close()

    async def _send_all(self):
        while True:
            message = await self._send_queue.get()
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
