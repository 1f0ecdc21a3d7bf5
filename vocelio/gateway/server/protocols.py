"""uvicorn's HTTP and WebSocket protocols with timeouts and limits, so that no peer can hold or use more than its share.

Everything that a peer can queue on a connection is bounded; a peer that exceeds a bound is disconnected.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.server.connection_limits import ConnectionLimits

REQUEST_TIMEOUT_SECONDS = 30.0  # for the head of a request, and for each chunk of its body
BODY_CHUNK_BYTES = 1_000_000  # of a body per timeout: the largest upload may take 15 minutes
UNREAD_TIMEOUT_SECONDS = 30.0  # without any acknowledgment by the peer

MAX_HEAD_BYTES = 65_536  # the limit of websockets and h11, too; of a body's trailer fields likewise
HEAD_TOO_LARGE = f"The head of a request must not exceed {MAX_HEAD_BYTES:,} bytes."
MAX_HEADERS = 256  # each costs far more memory than its bytes; proxies add about a dozen
MAX_PIPELINED_REQUESTS = 4  # that wait for the response of another on their connection; browsers and proxies send none

CLOSE_TIMEOUT_SECONDS = 1.0  # for a monitor to receive the last messages and to answer our close frame
SEND_BUFFER_BYTES = 65_536  # which the kernel doubles; by default it buffers 2.8 MB for a peer that does not read
MAX_WRITE_BUFFER_BYTES = 4_096  # buffered before ``send`` blocks: small messages still go out in one piece
MEDIA_PATH = "/twilio/media/"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # for SO_LINGER: unsent data is dropped

PARSE_BYTES = 4_096  # parsed at once: a read of 256 kB may contain 43,000 frames
MAX_CONTROL_FRAMES = 20  # pings and pongs in CONTROL_INTERVAL_SECONDS; clients send a ping every 20 s
CONTROL_INTERVAL_SECONDS = 15.0
MAX_QUEUED_MESSAGES = 1_000  # of one read, since reading pauses: 256 kB hold 700 of Twilio's messages
MAX_FRAGMENTS = 64  # of one message, which has 32 kB at most; empty ones would count for nothing


class RequestRefused(Exception):
    """Raised within the parser's callbacks; the parser stops, and the message is the response's."""


class PipelineFlowControl(FlowControl):
    """Flow control that resumes reading only while no request waits for another's response."""

    def __init__(self, transport: asyncio.Transport, is_pipelining: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._is_pipelining = is_pipelining

    def resume_reading(self) -> None:
        if not self._is_pipelining():
            super().resume_reading()


class TimeoutHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with limits for a request's head, the time it takes to arrive, and pipelining.

    Between two requests uvicorn's own keep-alive timeout applies.
    """

    request_timeout_seconds, unread_timeout_seconds = REQUEST_TIMEOUT_SECONDS, UNREAD_TIMEOUT_SECONDS

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._release: Callable[[], None] = lambda: None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set TCP_USER_TIMEOUT: the kernel drops a peer that does not read, even after our close."""
        super().connection_made(transport)
        self.flow = PipelineFlowControl(transport, lambda: bool(self.pipeline))
        if sys.platform == "linux":
            connection = transport.get_extra_info("socket")
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.unread_timeout_seconds * 1000)
            )
        self._message_complete = self._head_complete = True
        self._received_bytes = 0  # since the head began, or the last chunk of the body
        self._head_bytes = 0  # of names and values
        self._refusal = ""
        self._timeout_handle: asyncio.TimerHandle | None = None
        release = self._limits.acquire(self.client[0] if self.client else "") if self._limits else self._release
        if release is None:
            transport.abort()
            return
        self._release = release
        self._start_timeout()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timeout()
        self._release()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._received_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        if not self._head_complete and self._received_bytes > MAX_HEAD_BYTES:
            self.send_400_response(HEAD_TOO_LARGE)
            return
        if self._received_bytes > BODY_CHUNK_BYTES:
            self._received_bytes = 0
            self._cancel_timeout()
        if self._message_complete and self.cycle and not self.cycle.response_complete:
            self._cancel_timeout()
        else:
            self._start_timeout()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            self._refuse("Too many requests are waiting on this connection.")
        self._message_complete = self._head_complete = False
        self._received_bytes = self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head_bytes(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count trailer fields as well, which follow a chunked body."""
        super().on_header(name, value)
        self._count_head_bytes(len(name) + len(value))

    def _count_head_bytes(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE)
        if len(self.headers) > MAX_HEADERS:
            self._refuse(f"A request must not have more than {MAX_HEADERS} headers.")

    def _refuse(self, message: str) -> None:
        self._refusal = message
        raise RequestRefused(message)

    def send_400_response(self, msg: str) -> None:
        """Close the connection, with a response if the peer would not take it for that of an earlier request."""
        is_pending = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (is_pending and (not self._head_complete or self.cycle.response_started)):
            self.transport.close()
        else:
            super().send_400_response(self._refusal or msg)

    def on_headers_complete(self) -> None:
        self._head_complete = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._message_complete = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, unless a response to an earlier request is still due on it."""
        self._cancel_timeout()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()
            return
        super().handle_websocket_upgrade()
        upgraded = self.transport.get_protocol()
        if isinstance(upgraded, BoundedWebSocketProtocol):
            upgraded.release = self._release

    def _start_timeout(self) -> None:
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_later(self.request_timeout_seconds, self.transport.abort)

    def _cancel_timeout(self) -> None:
        if self._timeout_handle:
            self._timeout_handle.cancel()
            self._timeout_handle = None


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, except that everything a peer sends is bounded, and no connection outlives its app.

    uvicorn pauses reading for complete messages only, which leaves pings and fragments without a limit. It closes a
    connection after everything has been sent, so it waits forever for a peer that does not read: a peer disconnected
    for that would keep its file descriptor and could connect again.
    """

    release: Callable[[], None] = staticmethod(lambda: None)  # ends the connection's count, see ConnectionLimits
    _pongs_unread = False  # answered a ping although the peer does not read
    _failed = False  # closed for what the peer has sent
    _control_frames = 0  # in the present interval
    _control_interval_ends = 0.0  # loop time

    def connection_lost(self, exc: Exception | None) -> None:
        self.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse a large read in parts, so that what is exceeded is noticed before all of it has become objects."""
        if self._failed:
            return
        if len(data) <= PARSE_BYTES:
            super().data_received(data)
            return
        for start in range(0, len(data), PARSE_BYTES):
            if self._failed or self.transport.is_closing():
                return
            super().data_received(data[start : start + PARSE_BYTES])

    def resume_writing(self) -> None:
        super().resume_writing()
        self._pongs_unread = False
        self._resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        message = await self.queue.get()
        self._resume_reading()
        return message

    def handle_ping(self) -> None:
        """Answer it. A peer that does not read is not read from after a ping; without one, its close frame matters."""
        if not self._admit_control_frame():
            return
        super().handle_ping()
        if not self.writable.is_set():
            self._pongs_unread = True
            self._pause_reading()

    def handle_pong(self, event: Frame) -> None:
        """Count it: the server sends no pings."""
        self._admit_control_frame()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Queue a message; text that is not UTF-8 is the peer's mistake, which uvicorn logs with a traceback."""
        if self.queue.qsize() >= MAX_QUEUED_MESSAGES:
            self._fail(CloseCode.POLICY_VIOLATION, "too many messages")
            return
        if self.curr_msg_data_type == "text":
            self.frames = [b"".join(self.frames)] if len(self.frames) > 1 else self.frames
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_PAYLOAD, "text is not UTF-8")
                return
        super().send_receive_event_to_app()

    def _admit_control_frame(self) -> bool:
        if (now := self.loop.time()) >= self._control_interval_ends:
            self._control_frames, self._control_interval_ends = 0, now + CONTROL_INTERVAL_SECONDS
        self._control_frames += 1
        if self._control_frames > MAX_CONTROL_FRAMES:
            self._fail(CloseCode.POLICY_VIOLATION, "too many control frames")
        return self._control_frames <= MAX_CONTROL_FRAMES

    def _fail(self, code: CloseCode, reason: str) -> None:
        """Send a close frame, and abort the connection soon.

        What arrives until then is read and ignored: with unread data the kernel would reset the connection, and the
        peer would not get the close frame.
        """
        if self._failed or self.transport.is_closing():
            return
        self._failed = self.close_sent = True
        self.frames = []
        self.conn.fail(code, reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_SECONDS, self._abort)
        self._resume_reading()

    def _pause_reading(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        may_read = self._failed or (self.queue.empty() and not self._pongs_unread)
        if self.read_paused and may_read and not self.transport.is_closing():
            self.read_paused = False
            self.transport.resume_reading()

    def handle_connect(self, event: Request) -> None:
        """Limit the buffers of all sockets but media streams, which must survive a bad network."""
        if not event.path.startswith(MEDIA_PATH):
            self.close_timeout = CLOSE_TIMEOUT_SECONDS
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            self.transport.set_write_buffer_limits(MAX_WRITE_BUFFER_BYTES)
        super().handle_connect(event)
        self._pause_reading()  # until the application has read the request: it may have to authenticate it first

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
