"""Protocol side of one media socket: from its first message, through the stream token, to its end.

Messages come by plain method calls and leave through a Transport, so that no server is needed. There is no call before
a ``start`` message with a valid token; a protocol error closes this socket and nothing else. While the call is loaded
from the store, messages are buffered.
"""

import asyncio
import logging
from collections import deque

from vocelio.gateway import logs
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.interfaces import Transport
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.calls.session.call_session import CallSession
from vocelio.gateway.close_codes import CloseCode
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.media import messages
from vocelio.gateway.media.stream import MediaStream, StreamError

LOG = logging.getLogger(__name__)

START_TIMEOUT_SECONDS = 10.0  # for the stream to start
MAX_MESSAGES_BEFORE_START = 20
MAX_BUFFERED_MESSAGES = 250  # 5 s of audio, longer than the store may take; past it the oldest is dropped
IDLE_TIMEOUT_SECONDS = 10.0  # Twilio sends audio all the time: a socket without any is half open


class MediaSocket:
    """Handles one socket."""

    def __init__(self, registry: CallRegistry, account: str, transport: Transport) -> None:
        self._registry, self._account, self._transport = registry, account, transport
        self._stream = MediaStream()
        self._session: CallSession | None = None
        self._admission: asyncio.Task[None] | None = None
        self._buffered: deque[messages.Message] = deque(maxlen=MAX_BUFFERED_MESSAGES)
        self._message_count = 0
        self._checked_count = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._started_at = 0.0  # of the stream, loop time
        self._watchdog_timer = self._loop.call_later(START_TIMEOUT_SECONDS, self._watchdog)

    def on_message(self, text: str | bytes) -> None:
        """Process the next message of the peer."""
        if self._closed:
            return
        self._message_count += 1
        try:
            message = self._stream.receive(text)
            call = self._session
            if call is None:
                self._before_start(message)
            elif type(message) is messages.Media:
                call.on_audio(message.media.payload)
            elif message is not None:
                self._forward(call, message)
        except StreamError as error:
            self._refuse(error.code, str(error))

    def on_close(self) -> None:
        """The socket is closed, by either side."""
        self._closed = True
        self._watchdog_timer.cancel()
        if self._session:
            self._session.on_disconnect()

    async def wait_closed(self) -> None:
        """Wait until all tasks have ended."""
        if self._admission:
            await self._admission
        if self._session:
            await self._session.wait_closed()

    def _before_start(self, message: messages.Message | None) -> None:
        if self._admission is not None:
            if message is not None:
                self._buffered.append(message)
        elif isinstance(message, messages.Start):
            logs.bind(call=message.start.call_sid)
            self._started_at = self._loop.time()
            self._admission = self._loop.create_task(self._admit(message), name="admission")
        elif self._message_count > MAX_MESSAGES_BEFORE_START:
            raise StreamError(CloseCode.POLICY_VIOLATION, "too many messages before the stream started")

    async def _admit(self, message: messages.Start) -> None:
        """Load the call. Not canceled when the socket closes meanwhile: the call that it then owns is saved as lost."""
        start = message.start
        record = None
        try:
            if start.account_sid == self._account:
                token = start.custom_parameters.get("token", "")
                record = await self._registry.accept_stream(token, start.account_sid, start.call_sid)
            self._on_admitted(record, start.stream_sid)
        except DatabaseUnavailable:
            self._refuse(CloseCode.INTERNAL_ERROR, "database unavailable")
        except Exception:  # our own defect: Twilio returns, a few times at most
            LOG.exception("call %s: could not start its session; closing the stream", start.call_sid)
            if record is not None:
                self._registry.on_stream_lost(record)
            self._refuse(CloseCode.INTERNAL_ERROR, "internal error")

    def _on_admitted(self, record: CallRecord | None, stream_sid: str) -> None:
        if record is None:
            self._refuse(CloseCode.POLICY_VIOLATION, "invalid stream token")
        elif self._closed:
            self._registry.on_stream_lost(record)
        else:
            self._start_session(record, stream_sid)

    def _start_session(self, record: CallRecord, stream_sid: str) -> None:
        tenant = record.config.tenant
        logs.bind(tenant=tenant.id, redacted=tenant.redact_logs)
        call = self._session = self._registry.open_session(record, stream_sid, self._transport)
        call.start(self._started_at)
        while self._buffered:
            self._forward(call, self._buffered.popleft())

    def _forward(self, session: CallSession, message: messages.Message) -> None:
        match message:
            case messages.Media():
                session.on_audio(message.media.payload)
            case messages.Mark():
                session.on_mark(message.mark.name)
            case messages.Dtmf():
                session.on_dtmf(message.dtmf.digit)
            case messages.Stop():
                session.on_hangup()
            case _:
                pass  # the stream's transition table lets nothing else through

    def _refuse(self, code: int, reason: str) -> None:
        if self._closed:
            return
        self._transport.close(code, reason)
        self.on_close()

    def _watchdog(self) -> None:
        if self._session is None:
            self._refuse(CloseCode.POLICY_VIOLATION, "the stream did not start in time")
        elif self._message_count == self._checked_count:
            self._refuse(CloseCode.POLICY_VIOLATION, "no audio received")
        else:
            self._checked_count = self._message_count
            self._watchdog_timer = self._loop.call_later(IDLE_TIMEOUT_SECONDS, self._watchdog)
