"""The verbs of a call's TwiML, carried out in order as Twilio does: each of them one method.

A verb comes to the next verb (None), to another document, or to the end of the call.
"""

import asyncio
import math
from collections import deque
from typing import assert_never

from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.behavior import Then
from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.caller.handset import Handset
from vocelio.gateway.simulator.error_codes import CarrierError
from vocelio.gateway.simulator.media.client import Stream
from vocelio.gateway.simulator.media.connect import open_socket
from vocelio.gateway.simulator.media.messages import Outgoing
from vocelio.gateway.simulator.media.playback_buffer import Line
from vocelio.gateway.simulator.report.events import Connected
from vocelio.gateway.simulator.report.report import Ending
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.twiml.schema import slip
from vocelio.gateway.simulator.verbs.dial import STATUS, Dialer
from vocelio.gateway.simulator.verbs.enqueue import Queue
from vocelio.gateway.simulator.verbs.record import Recorder
from vocelio.gateway.simulator.verbs.say import announce
from vocelio.gateway.simulator.webhooks.account import Account
from vocelio.gateway.simulator.webhooks.call_webhooks import Documents, Next


class Verbs:
    """Plays TwiML to one call."""

    def __init__(
        self, account: Account, documents: Documents, dialer: Dialer, queue: Queue, handset: Handset, record: Record
    ) -> None:
        self._account = account
        self._documents = documents
        self._dialer = dialer
        self._queue = queue
        self._recorder = Recorder(account, documents, handset, record)
        self._handset = handset
        self._record = record
        self._connected = 0  # streams tried so far

    async def play(self, verbs: tuple[parser.Verb, ...]) -> Ending:
        """Play a document and those it leads to, until the call ends. Raises CarrierError when Twilio would give up."""
        left = deque(verbs)
        while left:
            then = await self._play(left.popleft())
            if isinstance(then, str):
                return then
            if then is not None:
                left = deque(then)
        return "twiml"

    async def _play(self, verb: parser.Verb) -> Next:
        match verb:
            case parser.Stream():
                return await self._connect(verb)
            case parser.Redirect(url=url):
                return await self._documents.fetch(url)
            case parser.Dial():
                return await self._dial(verb)
            case parser.Record():
                return await self._recorder.record(verb)
            case parser.Enqueue():
                return await self._queue.enqueue(verb)
            case parser.Leave():
                raise slip("<Leave> is for a caller in a queue")
            case parser.Say() | parser.Play() | parser.Pause():
                with self._handset.engaged():
                    await announce(verb, self._account, self._record)
                return None
            case parser.Hangup():
                return "hangup"
            case parser.Reject():
                return "rejected"
        assert_never(verb)

    async def _connect(self, verb: parser.Stream) -> Next:
        if self._connected:
            await asyncio.sleep(self._account.switches.next_connect)
        self._connected += 1
        stream_sid = sids.sid("MZ", self._account.rng)
        try:
            stream = await self._open(verb, stream_sid)
        except CarrierError as error:
            self._record.fault(error)
            self._telemetry(verb, stream_sid, "stream-error", error.text)
            return await self._after(self._account.switches.after_connect_error(error.code), verb)
        await self._run(stream, verb, stream_sid)
        if stream.lost:
            return await self._after(self._account.switches.after_loss, verb)
        return await self._after("go_on", verb)

    async def _open(self, verb: parser.Stream, stream_sid: str) -> Stream:
        account = self._account
        seconds = account.switches.connect_seconds
        connection = await open_socket(account.media_server, verb.url, account.signer, seconds)
        outgoing = Outgoing(account.sid, self._record.call_sid, stream_sid, verb.parameters)
        return Stream(connection, Line(stream_sid, outgoing), self._record.now, account.switches)

    async def _run(self, stream: Stream, verb: parser.Stream, stream_sid: str) -> None:
        """Until the server closes the socket, or the call ends (and this is cancelled)."""
        try:
            await stream.open()
            self._record.tell(Connected(self._record.now(), self._connected))
            self._telemetry(verb, stream_sid, "stream-started")
            self._handset.stream = stream
            await stream.listen()
        finally:
            self._handset.stream = None
            await stream.hang_up()
            self._record.stream(stream, stream_sid)
            self._telemetry(verb, stream_sid, "stream-stopped")

    async def _after(self, then: Then, verb: parser.Stream) -> Next:
        if then == "hang_up":
            return "lost"
        return None if verb.action is None else await self._documents.fetch(verb.action)

    def _telemetry(self, verb: parser.Stream, stream_sid: str, event: str, error: str = "") -> None:
        if verb.status_callback is not None:
            fields = {"StreamEvent": event, "StreamSid": stream_sid, "StreamName": verb.name or stream_sid}
            self._documents.notify(verb.status_callback, {**fields, **({"StreamError": error} if error else {})})

    async def _dial(self, verb: parser.Dial) -> Next:
        with self._handset.engaged():
            dialed = await self._dialer.dial(verb)
        if verb.action is None:
            return None
        status = {
            "DialCallStatus": STATUS[dialed.outcome],
            "DialCallSid": sids.sid("CA", self._account.rng),
            "DialCallDuration": str(math.ceil(dialed.seconds)),
        }
        return await self._documents.fetch(verb.action, status)
