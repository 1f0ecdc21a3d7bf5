"""The endpoint of the media WebSocket: an adapter between the server's socket and a MediaSocket.

Sending is bounded in size and time: a peer that does not read is treated as gone.
"""

import asyncio

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from vocelio.gateway.aio.bounded_queue import BoundedQueue
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.calls.session.media_socket import MediaSocket
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.twilio.signatures import SignatureVerifier
from vocelio.gateway.webhooks.signed_form import request_target, signature_headers

MAX_UNSENT_CHARACTERS = 262_144  # characters: 24 s of audio; playout runs at most 2 s ahead
SEND_TIMEOUT_SECONDS = 5.0
MAX_REASON_BYTES = 120  # bytes: a close frame has room for 123 (RFC 6455, 5.5)
CLOSE_TIMEOUT_SECONDS = 2.0  # for the peer to answer the close frame


class SocketTransport:
    """The Transport interface on a Starlette WebSocket: one task sends the messages in order."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._unsent: BoundedQueue[str] = BoundedQueue(MAX_UNSENT_CHARACTERS, len)  # when full the socket is closed
        self._close_frame: tuple[int, str] | None = None

    def send(self, message: str) -> None:
        if not self._close_frame and not self._unsent.try_put(message):
            self._unsent.clear()
            self.close(CloseCode.INTERNAL_ERROR, "the peer does not read")

    def close(self, code: int, reason: str = "") -> None:
        if self._close_frame is None:
            self._close_frame = (code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))
            self._unsent.notify()

    async def run(self) -> None:
        """Send until closed, or until a send fails or is blocked."""
        try:
            while True:
                await self._send_all()
                if self._close_frame:
                    break
                await self._unsent.wait()
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await self._socket.close(*self._close_frame)
            await asyncio.sleep(CLOSE_TIMEOUT_SECONDS)  # cancelled as soon as the peer has answered
        except (OSError, RuntimeError, WebSocketDisconnect, TimeoutError):
            return  # the peer is gone: the reader notices, or is cancelled with this task

    async def _send_all(self) -> None:
        while self._unsent:
            message = self._unsent.popleft()
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await self._socket.send_text(message)


async def media_stream_endpoint(socket: WebSocket, registry: CallRegistry, verifier: SignatureVerifier) -> None:
    """Serve one media stream from its upgrade to its end."""
    account = socket.path_params["account_sid"]
    if not await verifier.verify_upgrade(account, request_target(socket), *signature_headers(socket)):
        await socket.send_denial_response(Response(status_code=403))
        return
    await socket.accept()
    transport = SocketTransport(socket)
    media = MediaSocket(registry, account, transport)
    reader = asyncio.ensure_future(_read(socket, media, transport))
    writer = asyncio.ensure_future(transport.run())
    try:
        await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
    finally:
        media.on_close()
        for task in (reader, writer):
            task.cancel()
        results = await asyncio.gather(reader, writer, return_exceptions=True)
        await media.wait_closed()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _read(socket: WebSocket, media: MediaSocket, transport: SocketTransport) -> None:
    while socket.client_state is not WebSocketState.DISCONNECTED:
        message = await socket.receive()
        text = message.get("text")
        if text is not None:
            media.on_message(text)
        elif message["type"] == "websocket.receive":
            transport.close(CloseCode.UNSUPPORTED_DATA, "messages are text")
