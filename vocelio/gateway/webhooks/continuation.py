"""The webhooks of a call between two streams: its stream is closed or broken, somebody was rung, somebody answers.

What shall happen was put on record before the stream was closed. ``go_on`` only reads: any process may be asked, twice,
and answers the same. A call that broke off gets another stream, at most a few times; ``dialed`` is what a transfer
came to.
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


class ContinuationWebhooks:
    """One method for each webhook; each gives a TwiML document."""

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
        """The stream is closed, or was lost, or never came: what now?"""
        try:
            kept = await self._repository.find(request.call, request.account)
            if kept is None:
                return twiml.say_and_hang_up(NOT_IN_SERVICE_MESSAGE)
            if kept.is_over:
                return twiml.hang_up()
            return await self.continue_stored(kept, request)
        except DatabaseUnavailable:
            return self._responses.retry_later(request, "/twilio/continue")

    async def continue_stored(self, stored: StoredCall, request: TwilioRequest) -> str:
        """The same, of a call that is not over. Raises StoreUnavailable."""
        match read_resume_state(stored).phase:
            case Transferring(transfer=transfer):
                return await self._start_dialing(stored, transfer)
            case HangingUp():
                return twiml.hang_up()
            case _:
                return await self._resume(stored, request)

    async def _resume(self, stored: StoredCall, request: TwilioRequest) -> str:
        """Another stream, if the call has not had too many; one that came to nothing counts by its URL."""
        held = read_resume_state(stored)
        came_to_nothing = request.query.get("g") == str(stored.generation) or held.saved_generation != stored.generation
        tries = request.query_int("k") + 1 if came_to_nothing else 0
        elapsed = (self._wall_clock() - stored.started_at) / 1e6
        is_planned = isinstance(held.phase, HandingOff | TransferCompleted)
        if tries < MAX_RESUMES and (is_planned or may_resume(held.resume_times, elapsed)):
            return self._responses.connect_stored(stored, tries)
        await self._lifecycle.on_fallback(stored)
        return await self._responses.stored_fallback_or_apology(stored)

    async def dial_completed(self, request: TwilioRequest) -> str:
        """Ringing has ended: the next number, the flow's next node, or the end."""
        try:
            return await self._dial_completed(request)
        except DatabaseUnavailable:
            told = {name: request.get(name) for name in ("DialCallStatus", "DialCallDuration")}
            return self._responses.retry_later(request, "/twilio/dialed", **told)

    async def _dial_completed(self, request: TwilioRequest) -> str:
        kept = await self._repository.find(request.call, request.account)
        if kept is None or kept.is_over:
            return twiml.hang_up()
        match read_resume_state(kept).phase:
            case Transferring(transfer=transfer) if request.query.get("t", transfer.id) == transfer.id:
                return await self._advance_transfer(kept, transfer, request)
            case TransferCompleted(result=result) if request.query.get("t", result.id) == result.id:
                return self._responses.connect_stored(kept)  # a repeated request
            case _:  # of an earlier transfer: the call is past it
                return await self.continue_stored(kept, request)

    async def _advance_transfer(self, stored: StoredCall, transfer: actions.Transfer, request: TwilioRequest) -> str:
        """Ring the plan's next numbers, or end the transfer."""
        how = DIAL_RESULTS.get(request.get_carried("DialCallStatus"), "failed")
        turn = request.query_int("n") + 1
        record = await self._repository.load(stored)
        if record is None:
            return twiml.say_and_hang_up(ERROR_MESSAGE)
        plan = dial_plan.build_plan(record.config, transfer, record.stored.caller)
        if how != "answered" and isinstance(plan, DialPlan) and turn < len(plan.attempts):
            return self._dial_attempt(record, transfer, plan, turn)
        return await self._end_transfer(stored, record, transfer, how, request.get_carried("DialCallDuration"))

    async def _end_transfer(
        self, stored: StoredCall, record: CallRecord, transfer: actions.Transfer, result: DialResult, seconds: str
    ) -> str:
        """The flow goes on with how ringing ended: on a new stream, unless it is over with that."""
        if not await self._repository.claim(stored):  # told to another process at the same time
            kept_now = await self._repository.find(stored.id, stored.account_sid)
            return twiml.hang_up() if kept_now is None or kept_now.is_over else self._responses.connect_stored(kept_now)
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
        await self._repository.save_and_wait(record)  # that somebody answered is told once, and to nobody else
        return twiml.hang_up()

    async def whisper(self, request: TwilioRequest) -> str:
        """What the one who answers hears before the caller is put through."""
        try:
            kept = await self._repository.find(request.query.get("call", ""), request.account)
            record = await self._repository.load(kept) if kept and not kept.is_over else None
        except DatabaseUnavailable:
            record = None  # a talk without a whisper is better than none
        if record is None or not isinstance(record.resume.phase, Transferring):
            return twiml.say("")
        plan = dial_plan.build_plan(record.config, record.resume.phase.transfer, record.stored.caller)
        return twiml.say(plan.whisper if isinstance(plan, DialPlan) else "")

    # Ringing

    async def _start_dialing(self, stored: StoredCall, transfer: actions.Transfer) -> str:
        """It was cleared before it was put on record: whether the department is open is not asked again."""
        record = await self._repository.load(stored)
        if record is None:
            return twiml.say_and_hang_up(ERROR_MESSAGE)
        plan = dial_plan.build_plan(record.config, transfer, record.stored.caller)
        if isinstance(plan, DialPlan):
            return self._dial_attempt(record, transfer, plan, 0)
        return await self._end_transfer(stored, record, transfer, plan.exit, "")

    def _dial_attempt(self, record: CallRecord, transfer: actions.Transfer, plan: DialPlan, attempt: int) -> str:
        url = self._responses.public_url
        return twiml.dial(
            plan.attempts[attempt],
            timeout=plan.ring_seconds,
            time_limit=plan.time_limit_seconds,
            caller_id=plan.caller_id,
            action_url=url(f"/twilio/dialed?n={attempt}&t={transfer.id}"),
            whisper_url=url(f"/twilio/whisper?call={record.stored.id}") if plan.whisper else "",
        )
