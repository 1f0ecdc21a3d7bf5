"""``<Record>``: the caller is taped, and the gateway told where the recording lies.

As documented: an empty recording leads to the next verb and asks no action; when the caller hangs up, the action is
told so ("hangup" for the key), and its answer does not matter any more.
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
    """Tapes one call, as often as its TwiML says."""

    def __init__(self, account: SimulatedAccount, webhooks: CallWebhooks, handset: Handset, call_log: CallLog) -> None:
        self._account = account
        self._webhooks = webhooks
        self._handset = handset
        self._call_log = call_log

    async def run(self, verb: parser.Record) -> VerbResult:
        """Tape until the tape ends; the action's document. Raises CarrierError."""
        sid = sids.new_sid("RE", self._account.rng)
        tape = self._handset.record_tape = RecordTape(verb)
        self._post_status(verb, "in-progress", self._recording_fields(sid))
        try:
            await tape.finished.wait()
        except asyncio.CancelledError:  # the caller has hung up
            taped = self._finish(verb, sid, tape, "hangup")
            if taped.audio:
                self._webhooks.post_callback(verb.action, {**self._action_fields(taped), "CallStatus": "completed"})
            raise
        finally:
            self._handset.record_tape = None
        taped = self._finish(verb, sid, tape, tape.digits)
        return await self._webhooks.load_document(verb.action, self._action_fields(taped)) if taped.audio else None

    def _finish(self, verb: parser.Record, sid: str, tape: RecordTape, digits: str) -> RecordedMessage:
        audio = tape.audio
        taped = RecordedMessage(
            sid, self._recording_fields(sid)["RecordingUrl"], math.ceil(len(audio) / SAMPLE_RATE), digits, audio
        )
        self._call_log.recorded_messages.append(taped)
        more = {"RecordingDuration": str(taped.seconds)}
        self._post_status(verb, "completed" if audio else "absent", {**self._recording_fields(sid), **more})
        return taped

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
            more = {"RecordingStatus": status, "RecordingChannels": "1", "RecordingSource": "RecordVerb"}
            self._webhooks.post_callback(verb.status_callback, {**fields, **more})
