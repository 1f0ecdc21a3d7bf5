"""uvicorn's HTTP and WebSocket protocols with timeouts and limits, so that no idle peer can hold a connection forever.

Every connection costs a file descriptor; without these limits calls would run out of them.
"""

import asyncio
import logging
import resource
import socket
import struct
import sys

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

REQUEST_TIMEOUT_SECONDS = 30.0  # for the head of a request, and for each chunk of its body
BODY_CHUNK_BYTES = 1_000_000  # of a body per timeout: the largest upload may take 15 minutes
UNREAD_TIMEOUT_SECONDS = 30.0  # without any acknowledgment by the peer

MAX_HEAD_BYTES = 65_536  # the limit of websockets and h11, too
CLOSE_TIMEOUT_SECONDS = 1.0  # for a monitor to receive the last messages and to answer our close frame
SEND_BUFFER_BYTES = 65_536  # which the kernel doubles; by default it buffers 2.8 MB for a peer that does not read
MAX_WRITE_BUFFER_BYTES = 4_096  # buffered before ``send`` blocks: small messages still go out in one piece
MEDIA_PATH = "/twilio/media/"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER: unsent data is dropped

MIN_OPEN_FILES = 4_096  # enough for 200 calls with their connections to providers and databases, and 2,000 monitors
MAX_OPEN_FILES = 65_536

LOG = logging.getLogger(__name__)


def raise_open_file_limit() -> int:
    """Raise the process's limit of open files, sockets included, as far as the system allows; return the new limit.

    The default is 1,024, since programs that use ``select`` break with more; none of our code does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed, highest = (MAX_OPEN_FILES if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if allowed < (highest := min(highest, MAX_OPEN_FILES)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
        allowed = highest
    if allowed < MIN_OPEN_FILES:
        LOG.warning(
            "only %d open files are allowed, fewer than %d: raise the hard limit (ulimit -Hn)", allowed, MIN_OPEN_FILES
        )
    return allowed


class TimeoutHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits for the size of a request's head and for the time it takes to arrive.

    Between two requests uvicorn's own keep-alive timeout applies.
    """

    request_timeout_seconds, unread_timeout_seconds = REQUEST_TIMEOUT_SECONDS, UNREAD_TIMEOUT_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set TCP_USER_TIMEOUT: the kernel drops a peer that does not read, even after our close."""
        super().connection_made(transport)
        if sys.platform == "linux":
            connection = transport.get_extra_info("socket")
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.unread_timeout_seconds * 1000)
            )
        self._message_complete = self._head_complete = True
        self._received_bytes = 0  # since the head began, or the last chunk of the body
        self._timeout_handle: asyncio.TimerHandle | None = None
        self._start_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timeout()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if not self._head_complete and self._received_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"The head of a request must not exceed {MAX_HEAD_BYTES:,} bytes.")
            return
        if self._received_bytes > BODY_CHUNK_BYTES:
            self._received_bytes = 0
            self._cancel_timeout()
        if self._message_complete and self.cycle and not self.cycle.response_complete:
            self._cancel_timeout()
        else:
            self._start_timeout()

    def on_message_begin(self) -> None:
        self._message_complete = self._head_complete = False
        self._received_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_complete = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._message_complete = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._cancel_timeout()
        super().handle_websocket_upgrade()

    def _start_timeout(self) -> None:
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_later(self.request_timeout_seconds, self.transport.abort)

    def _cancel_timeout(self) -> None:
        if self._timeout_handle:
            self._timeout_handle.cancel()
            self._timeout_handle = None


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, except that no connection outlives its application for long.

    uvicorn closes a connection after everything has been sent, so it waits forever for a peer that does not read: a
    peer disconnected for that would keep its file descriptor and could connect again.
    """

    def handle_connect(self, event: Request) -> None:
        """Limit the buffers of all sockets but media streams, which must survive a bad network."""
        if not event.path.startswith(MEDIA_PATH):
            self.close_timeout = CLOSE_TIMEOUT_SECONDS
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self.transport.set_write_buffer_limits(MAX_WRITE_BUFFER_BYTES)
        super().handle_connect(event)

    async def send(self, message: ASGISendEvent) -> None:
        """Mark the handshake as complete after a denial, too; uvicorn does not, and would log an error for each."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or self.close_sent

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Abort the connection soon after the application has ended, closed or not."""
        super().on_task_complete(task)
        self.loop.call_later(0 if self.conn.state is State.OPEN else self.close_timeout, self._abort)

    def _abort(self) -> None:
        if self.disconnected:
            return  # its file descriptor may have been reused
        if self.transport.get_write_buffer_size():  # the peer does not read: drop what the kernel buffers, too
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()
