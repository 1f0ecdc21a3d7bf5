"""The connections of the server: uvicorn's, but that none is held for ever by a peer that does nothing.

Each costs a file descriptor, and in the end no call would find one.
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

REQUEST_TIMEOUT_SECONDS = 30.0  # for the head of a request to come in, and for each piece of its body
BODY_CHUNK_BYTES = 1_000_000  # bytes: the largest sound may take fifteen minutes
UNREAD_TIMEOUT_SECONDS = 30.0  # that a peer may take nothing of what it was sent

MAX_HEAD_BYTES = 65_536  # bytes: what websockets and h11 allow, too
CLOSE_TIMEOUT_SECONDS = 1.0  # for a monitor to take what it was sent last, and to answer our close
SEND_BUFFER_BYTES = 65_536  # bytes, which the kernel doubles; left alone, it holds 2.8 MB for a peer that does not read
MAX_WRITE_BUFFER_BYTES = (
    4_096  # bytes that wait for the kernel until a send has to: small messages still go out in one piece
)
MEDIA_PATH = "/twilio/media/"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # of SO_LINGER: what was not sent is dropped

MIN_OPEN_FILES = 4_096  # descriptors: 200 calls with all their lines to providers and databases, and 2,000 monitors
MAX_OPEN_FILES = 65_536

LOG = logging.getLogger(__name__)


def raise_open_file_limit() -> int:
    """How many files, sockets among them, the process may have open, from now on: as many as the system lets it.

    Systems begin with 1,024, since programs that use ``select`` break with more; nothing of ours does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed, most = (MAX_OPEN_FILES if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if allowed < (most := min(most, MAX_OPEN_FILES)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        allowed = most
    if allowed < MIN_OPEN_FILES:
        LOG.warning(
            "only %d open files are allowed, less than %d: raise the limit (ulimit -Hn)", allowed, MIN_OPEN_FILES
        )
    return allowed


class TimeoutHttpProtocol(HttpToolsProtocol):
    """uvicorn's, with limits for what its parser takes without any: the size of a head, and the time of a request.

    Between two requests uvicorn's own limit counts.
    """

    request_timeout_seconds, unread_timeout_seconds = REQUEST_TIMEOUT_SECONDS, UNREAD_TIMEOUT_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio. Of what a peer does not take the kernel keeps the time: also of what we have long forgotten."""
        super().connection_made(transport)
        if sys.platform == "linux":
            line = transport.get_extra_info("socket")
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.unread_timeout_seconds * 1000))
        self._message_complete = self._head_complete = True
        self._received_bytes = 0  # bytes since the head began, or the last piece of the body
        self._timeout_handle: asyncio.TimerHandle | None = None
        self._start_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._cancel_timeout()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._received_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if not self._head_complete and self._received_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"The head of a request has at most {MAX_HEAD_BYTES:,} bytes.")
            return
        if self._received_bytes > BODY_CHUNK_BYTES:
            self._received_bytes = 0
            self._cancel_timeout()
        if self._message_complete and self.cycle and not self.cycle.response_complete:
            self._cancel_timeout()
        else:
            self._start_timeout()

    def on_message_begin(self) -> None:
        """See httptools."""
        self._message_complete = self._head_complete = False
        self._received_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._head_complete = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._message_complete = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """See uvicorn."""
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
    """uvicorn's, but that no connection outlives its application for long.

    uvicorn closes when all is sent, so it waits for ever for a peer that does not read: whoever was cut off for that
    would keep its file descriptor, and could come again.
    """

    def handle_connect(self, event: Request) -> None:
        """See uvicorn. Calls keep the kernel's own buffer and uvicorn's patience: they are to outlast a bad line."""
        if not event.path.startswith(MEDIA_PATH):
            self.close_timeout = CLOSE_TIMEOUT_SECONDS
            line = self.transport.get_extra_info("socket")
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self.transport.set_write_buffer_limits(MAX_WRITE_BUFFER_BYTES)
        super().handle_connect(event)

    async def send(self, message: ASGISendEvent) -> None:
        """See uvicorn, which forgets that a denial ends the handshake, and would log an error for each."""
        await super().send(message)
        self.handshake_complete = self.handshake_complete or self.close_sent

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """See uvicorn. An application that ends without a word, or could not say it, has given the peer up."""
        super().on_task_complete(task)
        self.loop.call_later(0 if self.conn.state is State.OPEN else self.close_timeout, self._abort)

    def _abort(self) -> None:
        if self.disconnected:
            return  # its file descriptor may be another's by now
        if self.transport.get_write_buffer_size():  # it does not read: what the kernel holds for it goes, too
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()
