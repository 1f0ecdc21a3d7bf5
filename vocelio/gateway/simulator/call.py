"""One simulated call, from the first webhook to the last callback.

Two tasks run during the call: the TwiML interpreter and the caller's handset. The first to end ends the call and
cancels the other. No task outlives the call.
"""

import math
from pathlib import Path
from urllib.parse import urljoin

from vocelio.gateway.aio.tasks import first_completed
from vocelio.gateway.simulator.call_log import CallLog
from vocelio.gateway.simulator.caller.handset import Handset, StereoRecording
from vocelio.gateway.simulator.caller.script import RenderedStep, SimulatedCaller
from vocelio.gateway.simulator.caller.turn_taking import CallerTurnTaking
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.events import CallEnded, CallPlaced
from vocelio.gateway.simulator.report import CallReport, Ending
from vocelio.gateway.simulator.twiml.parser import Verb
from vocelio.gateway.simulator.verbs.dial import Callees, DialVerb
from vocelio.gateway.simulator.verbs.enqueue import EnqueueVerb, QueueScripts
from vocelio.gateway.simulator.verbs.interpreter import TwimlInterpreter
from vocelio.gateway.simulator.webhooks.account import SimulatedAccount
from vocelio.gateway.simulator.webhooks.call_webhooks import CallWebhooks


class SimulatedCall:
    """One call, to be run once."""

    def __init__(
        self,
        account: SimulatedAccount,
        call_log: CallLog,
        to: str,
        from_: str,
        callees: Callees,
        queue_scripts: QueueScripts,
    ) -> None:
        self._account = account
        self._call_log = call_log
        self._to = to
        self._from = from_
        base = account.public_url + "/"
        fields = account.call_fields(call_log.call_sid, to, from_)
        self._webhooks = CallWebhooks(account.webhook_client, call_log, fields, base, account.fallback_path)
        self._dial_verb = DialVerb(callees, self._webhooks, call_log, account.rng)
        self._enqueue_verb = EnqueueVerb(queue_scripts, self._webhooks, call_log, account)
        self._recording = StereoRecording()
        self._turn_taking: CallerTurnTaking | None = None
        self._answered_at: float | None = None

    async def run(self, caller: SimulatedCaller, steps: tuple[RenderedStep, ...], max_seconds: float) -> CallReport:
        """Place the call and run it to its end; returns at the latest some seconds after ``max_seconds``."""
        self._call_log.emit(CallPlaced(self._call_log.now(), self._to, self._from))
        try:
            ending = await self._run_to_end(caller, steps, max_seconds)
            seconds = self._call_log.now()
            self._call_log.emit(CallEnded(seconds, ending))
            await self._post_completed(seconds)
        finally:
            await self._webhooks.aclose()
        return self._make_report(ending, seconds)

    def write_recording(self, path: Path) -> None:
        """Write the recording. Raises OSError."""
        self._recording.write(path)

    async def _run_to_end(self, caller: SimulatedCaller, steps: tuple[RenderedStep, ...], max_seconds: float) -> Ending:
        try:
            return await self._answer_and_run(caller, steps, max_seconds)
        except TwilioSimError as error:
            self._call_log.add_error(error)
            return "error"

    async def _answer_and_run(
        self, caller: SimulatedCaller, steps: tuple[RenderedStep, ...], max_seconds: float
    ) -> Ending:
        verbs = await self._webhooks.load_document(self._account.voice_path)
        self._webhooks.call_status = "in-progress"
        self._answered_at = self._call_log.now()
        self._turn_taking = CallerTurnTaking(
            steps, caller.endpoint_silence_seconds, self._call_log.emit, self._answered_at
        )
        handset = Handset(self._turn_taking, self._recording)
        return await first_completed(self._run_twiml(verbs, handset), handset.run(self._call_log, max_seconds))

    async def _run_twiml(self, verbs: tuple[Verb, ...], handset: Handset) -> Ending:
        return await TwimlInterpreter(
            self._account, self._webhooks, self._dial_verb, self._enqueue_verb, handset, self._call_log
        ).run(verbs)

    async def _post_completed(self, seconds: float) -> None:
        duration = 0 if self._answered_at is None else math.ceil(seconds - self._answered_at)
        self._webhooks.call_status = "completed"
        fields = {"CallDuration": str(duration), "CallbackSource": "call-progress-events", "SequenceNumber": "0"}
        status_url = urljoin(self._account.public_url + "/", self._account.status_path)
        self._webhooks.post_callback(status_url, fields)
        await self._webhooks.wait_for_callbacks()

    def _make_report(self, ending: Ending, seconds: float) -> CallReport:
        turns = self._turn_taking.finish() if self._turn_taking else ()
        steps_done = self._turn_taking.steps_done if self._turn_taking else 0
        heard_audio = self._recording.heard_audio
        return self._call_log.make_report(ending, seconds, turns, steps_done, heard_audio, self._answered_at)
