"""``<Record>``: record the caller and post the recording's URL to the gateway.

As documented by Twilio: after an empty recording the next verb follows, without a request of the action; if the caller
hangs up, the action is requested with ``Digits`` "hangup" and its response is ignored.
"""

import asyncio
import math

from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.caller.handset import Handset
from vocelio.gateway.simulator.media.messages import SAMPLE_RATE
from vocelio.gateway.simulator.media.record_tape import RecordTape
from vocelio.gateway.simulator.report import RecordedMessage
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.webhooks.account import API_VERSION, SimulatedAccount
from vocelio.gateway.simulator.webhooks.call_webhooks import CallWebhooks, VerbResult

API_ORIGIN = "https://api.twilio.com"


class RecordVerb:
    """Runs the ``<Record>`` verbs of one call."""

    def __init__(self, account: SimulatedAccount, webhooks: CallWebhooks, handset: Handset, call_log: CallLog) -> None:
        self._account = account
        self._webhooks = webhooks
        self._handset = handset
        self._call_log = call_log

    async def run(self, verb: parser.Record) -> VerbResult:
        """Record until the recording ends; return the action's document. Raises TwilioSimError."""
        sid = sids.new_sid("RE", self._account.rng)
        tape = self._handset.record_tape = RecordTape(verb)
        self._post_status(verb, "in-progress", self._recording_fields(sid))
        try:
            await tape.finished.wait()
        except asyncio.CancelledError:  # the caller hung up
            message = self._finish(verb, sid, tape, "hangup")
            if message.audio:
                self._webhooks.post_callback(verb.action, {**self._action_fields(message), "CallStatus": "completed"})
            raise
        finally:
            self._handset.record_tape = None
        message = self._finish(verb, sid, tape, tape.digits)
        return await self._webhooks.load_document(verb.action, self._action_fields(message)) if message.audio else None

    def _finish(self, verb: parser.Record, sid: str, tape: RecordTape, digits: str) -> RecordedMessage:
        audio = tape.audio
        message = RecordedMessage(
            sid, self._recording_fields(sid)["RecordingUrl"], math.ceil(len(audio) / SAMPLE_RATE), digits, audio
        )
        self._call_log.recorded_messages.append(message)
        extra_fields = {"RecordingDuration": str(message.seconds)}
        self._post_status(verb, "completed" if audio else "absent", {**self._recording_fields(sid), **extra_fields})
        return message

    def _recording_fields(self, sid: str) -> dict[str, str]:
        url = f"{API_ORIGIN}/{API_VERSION}/Accounts/{self._account.sid}/Recordings/{sid}"
        return {"RecordingSid": sid, "RecordingUrl": url}

    def _action_fields(self, message: RecordedMessage) -> dict[str, str]:
        return {
            **self._recording_fields(message.sid),
            "RecordingDuration": str(message.seconds),
            "Digits": message.digits,
        }

    def _post_status(self, verb: parser.Record, status: str, fields: dict[str, str]) -> None:
        if verb.status_callback is not None and status in verb.status_callback_events:
            extra_fields = {"RecordingStatus": status, "RecordingChannels": "1", "RecordingSource": "RecordVerb"}
            self._webhooks.post_callback(verb.status_callback, {**fields, **extra_fields})
