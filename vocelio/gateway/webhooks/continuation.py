"""Continuation webhooks: how a call continues after a stream or a dial attempt, and what the callee hears.

What happens next was committed before the stream was closed, and these webhooks carry it out: any process can answer,
and answers the same when asked twice. A call whose stream broke off gets another one, a few times at most.
"""

from typing import Literal

from vocelio.engine import actions, events
from vocelio.gateway.calls.call_record import MAX_RESUMES, CallRecord, may_resume, read_resume_state
from vocelio.gateway.calls.event_publisher import CallEventPublisher
from vocelio.gateway.calls.lifecycle import CallLifecycle
from vocelio.gateway.calls.phase import HandingOff, HangingUp, TransferCompleted, Transferring
from vocelio.gateway.calls.repository import CallRepository
from vocelio.gateway.clock import WallClock
from vocelio.gateway.dialing import plan as dial_plan
from vocelio.gateway.dialing.plan import DialPlan
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.tenant import NOT_IN_SERVICE_MESSAGE
from vocelio.gateway.store.calls.interface import StoredCall
from vocelio.gateway.twilio import twiml
from vocelio.gateway.webhooks import urls
from vocelio.gateway.webhooks.responses import ERROR_MESSAGE, TwimlResponses
from vocelio.gateway.webhooks.signed_form import TwilioRequest

DialResult = Literal["answered", "busy", "no_answer", "failed"]

DIAL_RESULTS: dict[str, DialResult] = {
    "completed": "answered",
    "answered": "answered",
    "busy": "busy",
    "no-answer": "no_answer",
    "canceled": "no_answer",
    "failed": "failed",
}
"""Results by Twilio's DialCallStatus."""


class ContinuationWebhooks:
    """One method per webhook; each returns a TwiML document."""

    def __init__(
        self,
        repository: CallRepository,
        lifecycle: CallLifecycle,
        publisher: CallEventPublisher,
        responses: TwimlResponses,
        wall_clock: WallClock,
    ) -> None:
        self._repository, self._lifecycle, self._publisher = repository, lifecycle, publisher
        self._responses, self._wall_clock = responses, wall_clock

    async def continue_call(self, request: TwilioRequest) -> str:
        """Answer /twilio/continue: the stream was closed, was lost, or was never opened."""
        try:
            stored = await self._repository.find(request.call, request.account)
            if stored is None:
                return twiml.say_and_hang_up(NOT_IN_SERVICE_MESSAGE)
            if stored.is_over:
                return twiml.hang_up()
            return await self.continue_stored(stored, request)
        except DatabaseUnavailable:
            return self._responses.retry_later(request, "/twilio/continue")

    async def continue_stored(self, stored: StoredCall, request: TwilioRequest) -> str:
        """Continue a call that has not ended. Raises DatabaseUnavailable."""
        match read_resume_state(stored).phase:
            case Transferring(transfer=transfer):
                return await self._start_dialing(stored, transfer)
            case HangingUp():
                return twiml.hang_up()
            case _:
                return await self._resume(stored, request)

    async def _resume(self, stored: StoredCall, request: TwilioRequest) -> str:
        """Connect another stream, unless the call has had too many. Streams that never started count by the URL."""
        if not _follows_current_stream(stored, request):
            return self._responses.ask_to_continue(stored)
        resume = read_resume_state(stored)
        offered = request.query.get(urls.GENERATION) == str(stored.generation)
        never_started = offered or resume.saved_generation != stored.generation
        attempt = request.query_int(urls.STREAM_ATTEMPT) + 1 if never_started else 0
        elapsed = (self._wall_clock() - stored.started_at) / 1e6
        is_planned = isinstance(resume.phase, HandingOff | TransferCompleted)
        if attempt < MAX_RESUMES and (is_planned or may_resume(resume.resume_times, elapsed)):
            return self._responses.connect_stored(stored, attempt)
        await self._lifecycle.on_fallback(stored)
        return await self._responses.stored_fallback_or_apology(stored)

    async def dial_completed(self, request: TwilioRequest) -> str:
        """Answer /twilio/dialed: an attempt has ended; ring the next numbers, resume the flow, or end the call."""
        try:
            return await self._dial_completed(request)
        except DatabaseUnavailable:
            fields = {name: request.get(name) for name in ("DialCallStatus", "DialCallDuration")}
            return self._responses.retry_later(request, "/twilio/dialed", **fields)

    async def _dial_completed(self, request: TwilioRequest) -> str:
        stored = await self._repository.find(request.call, request.account)
        if stored is None or stored.is_over:
            return twiml.hang_up()
        match read_resume_state(stored).phase:
            case Transferring(transfer=transfer) if request.query.get(urls.TRANSFER, transfer.id) == transfer.id:
                return await self._advance_transfer(stored, transfer, request)
            case TransferCompleted(result=result) if request.query.get(urls.TRANSFER, result.id) == result.id:
                return self._responses.connect_stored(stored)  # a repeated request
            case _:  # of an earlier transfer, which the call has already passed
                return await self.continue_stored(stored, request)

    async def _advance_transfer(self, stored: StoredCall, transfer: actions.Transfer, request: TwilioRequest) -> str:
        """Ring the next numbers of the plan, or end the transfer."""
        result = DIAL_RESULTS.get(request.get_carried("DialCallStatus"), "failed")
        attempt = request.query_int(urls.DIAL_ATTEMPT) + 1
        record = await self._repository.load(stored)
        if record is None:
            return twiml.say_and_hang_up(ERROR_MESSAGE)
        plan = dial_plan.build_plan(record.config, transfer, record.stored.caller)
        if result != "answered" and isinstance(plan, DialPlan) and attempt < len(plan.attempts):
            return self._dial_attempt(record, transfer, plan, attempt)
        return await self._end_transfer(stored, record, transfer, result, request.get_carried("DialCallDuration"))

    async def _end_transfer(
        self, stored: StoredCall, record: CallRecord, transfer: actions.Transfer, result: DialResult, seconds: str
    ) -> str:
        """Resume the flow with the result on a new stream, or end the call if the flow ends with it."""
        if not await self._repository.claim(stored):  # another process was asked at the same time
            current = await self._repository.find(stored.id, stored.account_sid)
            return twiml.hang_up() if current is None or current.is_over else self._responses.connect_stored(current)
        record.stored.revision = stored.revision + 1
        session = record.create_session()
        at = max(record.elapsed(self._wall_clock()), session.at)
        ended = events.TransferEnded(at, transfer.id, result, float(seconds) if seconds.isdecimal() else 0.0)
        session.receive(ended)
        if not session.ended:
            record.complete_transfer(ended)
            await self._repository.save_and_wait(record)
            return self._responses.connect_stored(stored)
        record.feed_event(record.create_session(), ended)
        self._publisher.publish(record.stored, "transfer.ended", result=result, duration_seconds=ended.duration_seconds)
        self._lifecycle.end_call(record, session.outcome)
        await self._repository.save_and_wait(record)  # Twilio reports the result once, and to this process only
        return twiml.hang_up()

    async def whisper(self, request: TwilioRequest) -> str:
        """Answer /twilio/whisper: what the callee hears before being connected to the caller."""
        try:
            stored = await self._repository.find(request.query.get(urls.CALL, ""), request.account)
            record = await self._repository.load(stored) if stored and not stored.is_over else None
        except DatabaseUnavailable:
            record = None  # a conversation without a whisper is better than none
        if record is None or not isinstance(record.resume.phase, Transferring):
            return twiml.say("")
        plan = dial_plan.build_plan(record.config, record.resume.phase.transfer, record.stored.caller)
        return twiml.say(plan.whisper if isinstance(plan, DialPlan) else "")

    # Dialing

    async def _start_dialing(self, stored: StoredCall, transfer: actions.Transfer) -> str:
        """Ring the first numbers. The transfer was authorized when it was stored, so hours are not checked again."""
        record = await self._repository.load(stored)
        if record is None:
            return twiml.say_and_hang_up(ERROR_MESSAGE)
        plan = dial_plan.build_plan(record.config, transfer, record.stored.caller)
        if isinstance(plan, DialPlan):
            return self._dial_attempt(record, transfer, plan, 0)
        return await self._end_transfer(stored, record, transfer, plan.exit, "")

    def _dial_attempt(self, record: CallRecord, transfer: actions.Transfer, plan: DialPlan, attempt: int) -> str:
        webhook_urls = self._responses.urls
        return twiml.dial(
            plan.attempts[attempt],
            timeout=plan.ring_seconds,
            time_limit=plan.time_limit_seconds,
            caller_id=plan.caller_id,
            action_url=webhook_urls.dial_completed(attempt, transfer.id),
            whisper_url=webhook_urls.whisper(record.stored.id) if plan.whisper else "",
        )


def _follows_current_stream(stored: StoredCall, request: TwilioRequest) -> bool:
    """Tell whether Twilio requests what comes after the call's latest stream.

    Any other request is a repeated one, or a replay of one that somebody has recorded, and must get no stream token:
    the call may well have a live stream.
    """
    is_offer = urls.GENERATION in request.query
    return not stored.generation or (is_offer and request.query_int(urls.GENERATION) + 1 >= stored.generation)
