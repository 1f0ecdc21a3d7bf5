"""One media socket: from its first message, through its token, to its end.

Takes each message by a plain method and sends through a Transport, so it knows nothing of servers. Before a
``start`` with a good token there is no call; what breaks the protocol closes this socket and nothing else. While the
store is asked for the call, what the caller says waits.
"""

import asyncio
import logging
from collections import deque

from vocelio.gateway import logs
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.interfaces import Transport
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.calls.session.call_session import Call
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.media import messages
from vocelio.gateway.media.stream import CLOSE_POLICY, CLOSE_TROUBLE, MediaStream, StreamError

LOG = logging.getLogger(__name__)

GREETING_SECONDS = 10.0  # until the stream must have started
GREETING_MESSAGES = 20
EARLY_MESSAGES = 250  # 5 s of sound: longer than the store is waited for; then the oldest are dropped
SILENT_SECONDS = 10.0  # Twilio sends sound all the time: a socket without any is half open


class MediaSocket:
    """The protocol side of one socket."""

    def __init__(self, calls: Calls, account: str, transport: Transport) -> None:
        self._calls, self._account, self._transport = calls, account, transport
        self._stream = MediaStream()
        self._call: Call | None = None
        self._admission: asyncio.Task[None] | None = None
        self._early: deque[messages.Message] = deque(maxlen=EARLY_MESSAGES)
        self._count = 0
        self._seen = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._started = 0.0  # when the stream did, by the loop's clock
        self._watch = self._loop.call_later(GREETING_SECONDS, self._check_alive)

    def received(self, text: str | bytes) -> None:
        """The next message of the peer."""
        if self._closed:
            return
        self._count += 1
        try:
            message = self._stream.receive(text)
            call = self._call
            if call is None:
                self._greeted(message)
            elif type(message) is messages.Media:
                call.hear(message.media.payload)
            elif message is not None:
                self._pass_on(call, message)
        except StreamError as error:
            self._refuse(error.code, str(error))

    def closed(self) -> None:
        """The socket is gone, whoever closed it."""
        self._closed = True
        self._watch.cancel()
        if self._call:
            self._call.lost()

    async def wait_closed(self) -> None:
        """Until nothing of it is left."""
        if self._admission:
            await self._admission
        if self._call:
            await self._call.wait_closed()

    def _greeted(self, message: messages.Message | None) -> None:
        if self._admission is not None:
            if message is not None:
                self._early.append(message)
        elif isinstance(message, messages.Start):
            logs.about(call=message.start.call_sid)
            self._started = self._loop.time()
            self._admission = self._loop.create_task(self._admit(message), name="admission")
        elif self._count > GREETING_MESSAGES:
            raise StreamError(CLOSE_POLICY, "too many messages before the stream started")

    async def _admit(self, message: messages.Start) -> None:
        """Not cancelled when the socket closes meanwhile: then the call that it has become the owner of is lost."""
        start = message.start
        record = None
        try:
            if start.account_sid == self._account:
                token = start.custom_parameters.get("token", "")
                record = await self._calls.redeem(token, start.account_sid, start.call_sid)
            self._admitted(record, start.stream_sid)
        except StoreUnavailable:
            self._refuse(CLOSE_TROUBLE, "the store does not answer")
        except Exception:  # our own defect: Twilio comes back, at most a few times
            LOG.exception("call %s could not be gone on with", start.call_sid)
            if record is not None:
                self._calls.lost(record)
            self._refuse(CLOSE_TROUBLE, "trouble in the gateway")

    def _admitted(self, record: CallRecord | None, stream_sid: str) -> None:
        if record is None:
            self._refuse(CLOSE_POLICY, "no good token for this call")
        elif self._closed:
            self._calls.lost(record)
        else:
            self._begin(record, stream_sid)

    def _begin(self, record: CallRecord, stream_sid: str) -> None:
        tenant = record.assignment.tenant
        logs.about(tenant=tenant.id, redacted=tenant.redact)
        call = self._call = Call(self._calls, record, stream_sid, self._transport)
        call.begin(self._started)
        while self._early:
            self._pass_on(call, self._early.popleft())

    def _pass_on(self, call: Call, message: messages.Message) -> None:
        match message:
            case messages.Media():
                call.hear(message.media.payload)
            case messages.Mark():
                call.marked(message.mark.name)
            case messages.Dtmf():
                call.key(message.dtmf.digit)
            case messages.Stop():
                call.caller_left()
            case _:
                pass  # the stream's table lets nothing else through

    def _refuse(self, code: int, reason: str) -> None:
        if self._closed:
            return
        self._transport.close(code, reason)
        self.closed()

    def _check_alive(self) -> None:
        if self._call is None:
            self._refuse(CLOSE_POLICY, "the stream did not start in time")
        elif self._count == self._seen:
            self._refuse(CLOSE_POLICY, "no sound comes any more")
        else:
            self._seen = self._count
            self._watch = self._loop.call_later(SILENT_SECONDS, self._check_alive)
