"""One media socket: from its first message, through its token, to its end.

Takes each message by a plain method and sends through a Transport, so it knows nothing of servers. Before a
``start`` with a good token there is no call; what breaks the protocol closes this socket and nothing else.
"""

import asyncio

from vocelio.gateway.calls.call import Call
from vocelio.gateway.calls.ports import Transport
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.media import messages
from vocelio.gateway.media.stream import CLOSE_POLICY, MediaStream, StreamError

GREETING_SECONDS = 10.0  # until the stream must have started
GREETING_MESSAGES = 20
SILENT_SECONDS = 10.0  # Twilio sends sound all the time: a socket without any is half open


class MediaSocket:
    """The protocol side of one socket."""

    def __init__(self, calls: Calls, account: str, transport: Transport) -> None:
        self._calls, self._account, self._transport = calls, account, transport
        self._stream = MediaStream()
        self._call: Call | None = None
        self._count = 0
        self._seen = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
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
        if self._call:
            await self._call.wait_closed()

    def _greeted(self, message: messages.Message | None) -> None:
        if isinstance(message, messages.Start):
            self._admit(message)
        elif self._count > GREETING_MESSAGES:
            raise StreamError(CLOSE_POLICY, "too many messages before the stream started")

    def _admit(self, message: messages.Start) -> None:
        start = message.start
        token = start.custom_parameters.get("token", "")
        record = None
        if start.account_sid == self._account:
            record = self._calls.redeem(token, start.account_sid, start.call_sid)
        if record is None:
            raise StreamError(CLOSE_POLICY, "no good token for this call")
        self._call = Call(self._calls, record, start.stream_sid, self._transport)
        self._call.begin()

    def _pass_on(self, call: Call, message: messages.Message) -> None:
        match message:
            case messages.Mark():
                call.marked(message.mark.name)
            case messages.Dtmf():
                call.key(message.dtmf.digit)
            case messages.Stop():
                call.caller_left()
            case _:
                pass  # the stream's table lets nothing else through

    def _refuse(self, code: int, reason: str) -> None:
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
