"""TwiML interpreter: runs the verbs of a document in order.

The result of a verb is the next verb (None), another document, or the end of the call.
"""

import asyncio
import math
from collections import deque
from typing import assert_never

from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.behavior import Continuation
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.caller.handset import Handset
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.events import StreamConnected
from vocelio.gateway.simulator.media.client import StreamClient, open_socket
from vocelio.gateway.simulator.media.messages import MessageWriter
from vocelio.gateway.simulator.media.playback_buffer import StreamBuffer
from vocelio.gateway.simulator.report import Ending
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.twiml.schema import schema_error
from vocelio.gateway.simulator.verbs.dial import DIAL_CALL_STATUSES, DialVerb
from vocelio.gateway.simulator.verbs.enqueue import EnqueueVerb
from vocelio.gateway.simulator.verbs.record import RecordVerb
from vocelio.gateway.simulator.verbs.say import run_say
from vocelio.gateway.simulator.webhooks.account import SimulatedAccount
from vocelio.gateway.simulator.webhooks.call_webhooks import CallWebhooks, VerbResult


class TwimlInterpreter:
    """Runs the TwiML of one call."""

    def __init__(
        self,
        account: SimulatedAccount,
        webhooks: CallWebhooks,
        dial_verb: DialVerb,
        enqueue_verb: EnqueueVerb,
        handset: Handset,
        call_log: CallLog,
    ) -> None:
        self._account = account
        self._webhooks = webhooks
        self._dial_verb = dial_verb
        self._enqueue_verb = enqueue_verb
        self._record_verb = RecordVerb(account, webhooks, handset, call_log)
        self._handset = handset
        self._call_log = call_log
        self._stream_count = 0  # including failed connects

    async def run(self, verbs: tuple[parser.Verb, ...]) -> Ending:
        """Run a document and those that follow until the call ends. Raises TwilioSimError if Twilio would give up."""
        pending = deque(verbs)
        while pending:
            result = await self._run_verb(pending.popleft())
            if isinstance(result, str):
                return result
            if result is not None:
                pending = deque(result)
        return "twiml"

    async def _run_verb(self, verb: parser.Verb) -> VerbResult:
        match verb:
            case parser.Stream():
                return await self._run_stream(verb)
            case parser.Redirect(url=url):
                return await self._webhooks.load_document(url)
            case parser.Dial():
                return await self._run_dial(verb)
            case parser.Record():
                return await self._record_verb.run(verb)
            case parser.Enqueue():
                return await self._enqueue_verb.run(verb)
            case parser.Leave():
                raise schema_error("<Leave> is only allowed in a queue")
            case parser.Say() | parser.Play() | parser.Pause():
                with self._handset.mute_to_gateway():
                    await run_say(verb, self._account, self._call_log)
                return None
            case parser.Hangup():
                return "hangup"
            case parser.Reject():
                return "rejected"
        assert_never(verb)

    async def _run_stream(self, verb: parser.Stream) -> VerbResult:
        if self._stream_count:
            await asyncio.sleep(self._account.behavior.reconnect_delay_seconds)
        self._stream_count += 1
        stream_sid = sids.new_sid("MZ", self._account.rng)
        try:
            stream = await self._open_stream(verb, stream_sid)
        except TwilioSimError as error:
            self._call_log.add_error(error)
            self._post_stream_event(verb, stream_sid, "stream-error", error.message)
            return await self._continue(self._account.behavior.after_connect_error(error.code), verb)
        await self._run_until_closed(stream, verb, stream_sid)
        if stream.is_lost:
            return await self._continue(self._account.behavior.after_stream_loss, verb)
        return await self._continue("continue", verb)

    async def _open_stream(self, verb: parser.Stream, stream_sid: str) -> StreamClient:
        account = self._account
        timeout_seconds = account.behavior.connect_timeout_seconds
        connection = await open_socket(account.media_server_url, verb.url, account.signer, timeout_seconds)
        writer = MessageWriter(account.sid, self._call_log.call_sid, stream_sid, verb.parameters)
        return StreamClient(connection, StreamBuffer(stream_sid, writer), self._call_log.now, account.behavior)

    async def _run_until_closed(self, stream: StreamClient, verb: parser.Stream, stream_sid: str) -> None:
        """Run the stream until the server closes the socket or the end of the call cancels it."""
        try:
            await stream.open()
            self._call_log.emit(StreamConnected(self._call_log.now(), self._stream_count))
            self._post_stream_event(verb, stream_sid, "stream-started")
            self._handset.stream = stream
            await stream.run()
        finally:
            self._handset.stream = None
            await stream.hang_up()
            self._call_log.add_stream(stream, stream_sid)
            self._post_stream_event(verb, stream_sid, "stream-stopped")

    async def _continue(self, continuation: Continuation, verb: parser.Stream) -> VerbResult:
        if continuation == "hang_up":
            return "lost"
        return None if verb.action is None else await self._webhooks.load_document(verb.action)

    def _post_stream_event(self, verb: parser.Stream, stream_sid: str, event: str, error: str = "") -> None:
        if verb.status_callback is not None:
            fields = {"StreamEvent": event, "StreamSid": stream_sid, "StreamName": verb.name or stream_sid}
            self._webhooks.post_callback(verb.status_callback, {**fields, **({"StreamError": error} if error else {})})

    async def _run_dial(self, verb: parser.Dial) -> VerbResult:
        with self._handset.mute_to_gateway():
            dial_result = await self._dial_verb.run(verb)
        if verb.action is None:
            return None
        status = {
            "DialCallStatus": DIAL_CALL_STATUSES[dial_result.outcome],
            "DialCallSid": sids.new_sid("CA", self._account.rng),
            "DialCallDuration": str(math.ceil(dial_result.talk_seconds)),
        }
        return await self._webhooks.load_document(verb.action, status)
