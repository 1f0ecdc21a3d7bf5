"""The webhooks of a call between two streams: its stream is closed or broken, somebody was rung, somebody answers.

What shall happen was put on record before the stream was closed. ``go_on`` only reads: any process may be asked, twice,
and answers the same. A call that broke off gets another stream, at most a few times; ``dialed`` is what a transfer
came to.
"""

from typing import Literal

from vocelio.engine import actions, events
from vocelio.gateway.calls.call_record import RESUMES, CallRecord, may_resume, state
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.dialing import plan as dial_plan
from vocelio.gateway.dialing.plan import Plan
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.tenant import DEFAULT_APOLOGY
from vocelio.gateway.store.calls.interface import SavedCall
from vocelio.gateway.twilio import twiml
from vocelio.gateway.webhooks.responses import TROUBLE, Answers
from vocelio.gateway.webhooks.signed_form import SignedForm

How = Literal["answered", "busy", "no_answer", "failed"]

DIAL_STATUS: dict[str, How] = {
    "completed": "answered",
    "answered": "answered",
    "busy": "busy",
    "no-answer": "no_answer",
    "canceled": "no_answer",
    "failed": "failed",
}


class Onward:
    """One method for each webhook; each gives a TwiML document."""

    def __init__(self, calls: Calls, answers: Answers) -> None:
        self._calls, self._answers = calls, answers

    async def go_on(self, form: SignedForm) -> str:
        """The stream is closed, or was lost, or never came: what now?"""
        try:
            kept = await self._calls.find(form.call, form.account)
            if kept is None:
                return twiml.apologise(DEFAULT_APOLOGY)
            if kept.over:
                return twiml.hang_up()
            return await self.go_on_with(kept, form)
        except StoreUnavailable:
            return self._answers.wait(form, "/twilio/continue")

    async def go_on_with(self, kept: SavedCall, form: SignedForm) -> str:
        """The same, of a call that is not over. Raises StoreUnavailable."""
        held = state(kept)
        match held.intent:
            case actions.Transfer() if held.pending is None:
                return await self._dial(kept, held.intent)
            case actions.HangUp():
                return twiml.hang_up()
            case _:
                return await self._resume(kept, form)

    async def _resume(self, kept: SavedCall, form: SignedForm) -> str:
        """Another stream, if the call has not had too many; one that came to nothing counts by its URL."""
        held = state(kept)
        came_to_nothing = form.query.get("g") == str(kept.generation) or held.begun != kept.generation
        tries = form.number("k") + 1 if came_to_nothing else 0
        elapsed = (self._calls.services.wall() - kept.started) / 1e6
        if tries < RESUMES and (held.handed_over or held.pending or may_resume(held.resumed, elapsed)):
            return self._answers.connect_kept(kept, tries)
        await self._calls.given_up(kept)
        return await self._answers.give_up(kept)

    async def dialed(self, form: SignedForm) -> str:
        """Ringing has ended: the next number, the flow's next node, or the end."""
        try:
            return await self._dialed(form)
        except StoreUnavailable:
            told = {name: form.get(name) for name in ("DialCallStatus", "DialCallDuration")}
            return self._answers.wait(form, "/twilio/dialed", **told)

    async def _dialed(self, form: SignedForm) -> str:
        kept = await self._calls.find(form.call, form.account)
        if kept is None or kept.over:
            return twiml.hang_up()
        held = state(kept)
        intent = held.intent
        if not isinstance(intent, actions.Transfer) or form.query.get("t", intent.id) != intent.id:
            return await self.go_on_with(kept, form)  # told again, or of an earlier transfer: the call is past it
        if held.pending is not None:
            return self._answers.connect_kept(kept)
        how = DIAL_STATUS.get(form.told("DialCallStatus"), "failed")
        turn = form.number("n") + 1
        record = await self._calls.record(kept)
        if record is None:
            return twiml.apologise(TROUBLE)
        plan = dial_plan.plan(record.assignment, intent, record.caller)
        if how != "answered" and isinstance(plan, Plan) and turn < len(plan.rounds):
            return self._ring(record, intent, plan, turn)
        return await self._transferred(kept, record, intent, how, form.told("DialCallDuration"))

    async def _transferred(
        self, kept: SavedCall, record: CallRecord, transfer: actions.Transfer, how: How, seconds: str
    ) -> str:
        """The flow goes on with how ringing ended: on a new stream, unless it is over with that."""
        if not await self._calls.claim(kept):  # told to another process at the same time
            kept_now = await self._calls.find(kept.id, kept.account)
            return twiml.hang_up() if kept_now is None or kept_now.over else self._answers.connect_kept(kept_now)
        record.revision = kept.revision + 1
        session = record.session()
        at = max(record.elapsed(self._calls.services.wall()), session.at)
        ended = events.TransferEnded(at, transfer.id, how, float(seconds) if seconds.isdecimal() else 0.0)
        session.receive(ended)
        if not session.ended:
            record.pending = ended
            await self._calls.keep(record)
            return self._answers.connect_kept(kept)
        record.step(record.session(), ended)
        self._calls.publish(record, "transfer.ended", how=how, seconds=ended.seconds)
        self._calls.end(record, session.outcome)
        await self._calls.keep(record)  # that somebody answered is told once, and to nobody else
        return twiml.hang_up()

    async def whisper(self, form: SignedForm) -> str:
        """What the one who answers hears before the caller is put through."""
        try:
            kept = await self._calls.find(form.query.get("call", ""), form.account)
            record = await self._calls.record(kept) if kept and not kept.over else None
        except StoreUnavailable:
            record = None  # a talk without a whisper is better than none
        if record is None or not isinstance(record.intent, actions.Transfer):
            return twiml.say("")
        plan = dial_plan.plan(record.assignment, record.intent, record.caller)
        return twiml.say(plan.whisper if isinstance(plan, Plan) else "")

    # Ringing

    async def _dial(self, kept: SavedCall, transfer: actions.Transfer) -> str:
        """It was cleared before it was put on record: whether the department is open is not asked again."""
        record = await self._calls.record(kept)
        if record is None:
            return twiml.apologise(TROUBLE)
        plan = dial_plan.plan(record.assignment, transfer, record.caller)
        if isinstance(plan, Plan):
            return self._ring(record, transfer, plan, 0)
        return await self._transferred(kept, record, transfer, plan.exit, "")

    def _ring(self, record: CallRecord, transfer: actions.Transfer, plan: Plan, turn: int) -> str:
        url = self._answers.url
        return twiml.dial(
            plan.rounds[turn],
            timeout=plan.ringing,
            time_limit=plan.time_limit,
            caller_id=plan.caller_id,
            action=url(f"/twilio/dialed?n={turn}&t={transfer.id}"),
            whisper=url(f"/twilio/whisper?call={record.call}") if plan.whisper else "",
        )
