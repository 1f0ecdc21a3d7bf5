"""``<Record>``: the caller is taped, and the gateway told where the recording lies.

As documented: an empty recording leads to the next verb and asks no action; when the caller hangs up, the action is
told so ("hangup" for the key), and its answer does not matter any more.
"""

import asyncio
import math

from vocelio.gateway.simulator import sids
from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.caller.handset import Handset
from vocelio.gateway.simulator.media.messages import SAMPLE_RATE
from vocelio.gateway.simulator.media.record_tape import Tape
from vocelio.gateway.simulator.report.report import Taped
from vocelio.gateway.simulator.twiml import parser
from vocelio.gateway.simulator.webhooks.account import API_VERSION, Account
from vocelio.gateway.simulator.webhooks.call_webhooks import Documents, Next

API = "https://api.twilio.com"


class Recorder:
    """Tapes one call, as often as its TwiML says."""

    def __init__(self, account: Account, documents: Documents, handset: Handset, record: Record) -> None:
        self._account = account
        self._documents = documents
        self._handset = handset
        self._record = record

    async def record(self, verb: parser.Record) -> Next:
        """Tape until the tape ends; the action's document. Raises CarrierError."""
        sid = sids.sid("RE", self._account.rng)
        tape = self._handset.tape = Tape(verb)
        self._tell(verb, "in-progress", self._where(sid))
        try:
            await tape.finished.wait()
        except asyncio.CancelledError:  # the caller has hung up
            taped = self._taped(verb, sid, tape, "hangup")
            if taped.audio:
                self._documents.notify(verb.action, {**self._facts(taped), "CallStatus": "completed"})
            raise
        finally:
            self._handset.tape = None
        taped = self._taped(verb, sid, tape, tape.digits)
        return await self._documents.fetch(verb.action, self._facts(taped)) if taped.audio else None

    def _taped(self, verb: parser.Record, sid: str, tape: Tape, digits: str) -> Taped:
        audio = tape.audio
        taped = Taped(sid, self._where(sid)["RecordingUrl"], math.ceil(len(audio) / SAMPLE_RATE), digits, audio)
        self._record.taped.append(taped)
        more = {"RecordingDuration": str(taped.seconds)}
        self._tell(verb, "completed" if audio else "absent", {**self._where(sid), **more})
        return taped

    def _where(self, sid: str) -> dict[str, str]:
        url = f"{API}/{API_VERSION}/Accounts/{self._account.sid}/Recordings/{sid}"
        return {"RecordingSid": sid, "RecordingUrl": url}

    def _facts(self, taped: Taped) -> dict[str, str]:
        return {**self._where(taped.sid), "RecordingDuration": str(taped.seconds), "Digits": taped.digits}

    def _tell(self, verb: parser.Record, status: str, facts: dict[str, str]) -> None:
        if verb.callback is not None and status in verb.events:
            more = {"RecordingStatus": status, "RecordingChannels": "1", "RecordingSource": "RecordVerb"}
            self._documents.notify(verb.callback, {**facts, **more})
