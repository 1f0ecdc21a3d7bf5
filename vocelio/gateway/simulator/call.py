"""One call, from the first webhook to the last callback.

Two tasks live as long as the call does: one plays the TwiML, one is the caller on the line. Whichever ends first
ends the call and the other; after that nothing of the call is left.
"""

import math
from pathlib import Path
from urllib.parse import urljoin

from vocelio.gateway.aio.first_completed import first
from vocelio.gateway.simulator.call_log import Record
from vocelio.gateway.simulator.caller.handset import Handset
from vocelio.gateway.simulator.caller.script import Caller, Cue
from vocelio.gateway.simulator.caller.turn_taking import Performance
from vocelio.gateway.simulator.error_codes import CarrierError
from vocelio.gateway.simulator.media.stereo_recording import Recording
from vocelio.gateway.simulator.report.events import Ended, Ringing
from vocelio.gateway.simulator.report.report import CallReport, Ending
from vocelio.gateway.simulator.twiml.parser import Verb
from vocelio.gateway.simulator.verbs.dial import Dialer, Dials
from vocelio.gateway.simulator.verbs.enqueue import Queue, Queues
from vocelio.gateway.simulator.verbs.interpreter import Verbs
from vocelio.gateway.simulator.webhooks.account import Account
from vocelio.gateway.simulator.webhooks.call_webhooks import Documents


class Call:
    """A call that is about to be placed."""

    def __init__(self, account: Account, record: Record, to: str, from_: str, dials: Dials, queues: Queues) -> None:
        self._account = account
        self._record = record
        self._to = to
        self._from = from_
        base = account.public_url + "/"
        fields = account.form(record.call_sid, to, from_)
        self._documents = Documents(account.poster, record, fields, base, account.fallback)
        self._dialer = Dialer(dials, self._documents, record, account.rng)
        self._queue = Queue(queues, self._documents, record, account)
        self._recording = Recording()
        self._performance: Performance | None = None
        self._answered: float | None = None

    async def run(self, caller: Caller, cues: tuple[Cue, ...], longest: float) -> CallReport:
        """Place it and see it through; always returns, at the latest some seconds after ``longest``."""
        self._record.tell(Ringing(self._record.now(), self._to, self._from))
        try:
            ended = await self._end_of(caller, cues, longest)
            seconds = self._record.now()
            self._record.tell(Ended(seconds, ended))
            await self._hang_up(seconds)
        finally:
            await self._documents.aclose()
        return self._report(ended, seconds)

    def write(self, path: Path) -> None:
        """Write the recording. Raises OSError."""
        self._recording.write(path)

    async def _end_of(self, caller: Caller, cues: tuple[Cue, ...], longest: float) -> Ending:
        try:
            return await self._live(caller, cues, longest)
        except CarrierError as error:
            self._record.fault(error)
            return "error"

    async def _live(self, caller: Caller, cues: tuple[Cue, ...], longest: float) -> Ending:
        verbs = await self._documents.fetch(self._account.voice)
        self._documents.status = "in-progress"
        self._answered = self._record.now()
        self._performance = Performance(cues, caller.quiet, self._record.tell, self._answered)
        handset = Handset(self._performance, self._recording)
        return await first(self._play(verbs, handset), handset.hold(self._record, longest))

    async def _play(self, verbs: tuple[Verb, ...], handset: Handset) -> Ending:
        return await Verbs(self._account, self._documents, self._dialer, self._queue, handset, self._record).play(verbs)

    async def _hang_up(self, seconds: float) -> None:
        duration = 0 if self._answered is None else math.ceil(seconds - self._answered)
        self._documents.status = "completed"
        fields = {"CallDuration": str(duration), "CallbackSource": "call-progress-events", "SequenceNumber": "0"}
        status = urljoin(self._account.public_url + "/", self._account.status)
        self._documents.notify(status, fields)
        await self._documents.finish()

    def _report(self, ended: Ending, seconds: float) -> CallReport:
        performance = self._performance
        turns = performance.finish() if performance else ()
        done = performance.steps_done if performance else 0
        return self._record.report(ended, seconds, turns, done, self._recording.heard, self._answered)
