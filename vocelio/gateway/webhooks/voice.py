"""The webhooks of a call: what Twilio asks, and the TwiML that answers.

All of them may be asked twice (Twilio retries) and answer the same twice, but for the stream's token. What shall
happen was put on record before the stream was closed; ``continue`` adds only that a lost stream was followed by
another.
"""

from typing import Literal

import msgspec

from vocelio.engine import actions, events
from vocelio.engine.facts import E164
from vocelio.gateway.calls import dialing
from vocelio.gateway.calls.dialing import Plan, Refusal
from vocelio.gateway.calls.record import CallRecord
from vocelio.gateway.calls.registry import Calls, Visit
from vocelio.gateway.carrier import twiml
from vocelio.gateway.carrier.signatures import Signatures
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.store.site import DEFAULT_APOLOGY, Closed
from vocelio.gateway.webhooks.signed import SignedForm

How = Literal["answered", "busy", "no_answer", "failed"]

DIAL_STATUS: dict[str, How] = {
    "completed": "answered",
    "answered": "answered",
    "busy": "busy",
    "no-answer": "no_answer",
    "canceled": "no_answer",
    "failed": "failed",
}
WITHHELD = ("+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253")
"""ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN and UNAVAILABLE on a telephone's keys."""
TROUBLE = "Sorry, we cannot take your call at the moment. Please call again later. Goodbye."
OVER = ("completed", "busy", "failed", "no-answer", "canceled")


class Voice:
    """One method for each webhook; each gives a TwiML document."""

    def __init__(self, calls: Calls, signatures: Signatures) -> None:
        self._calls, self._signatures = calls, signatures

    async def voice(self, form: SignedForm) -> str:
        """A call comes in."""
        known = self._calls.find(form.call, form.account)
        if known is not None:  # asked again
            return twiml.hang_up() if known.over else self._connect(known)
        if self._calls.is_anothers(form.call, form.account):
            return twiml.hang_up()
        number, caller = form.required("To"), _caller(form.get("From"))
        try:
            found = await self._calls.services.site.assignment(number)
        except StoreUnavailable:
            return twiml.apologise(TROUBLE)
        if found is None or not self._may_call(form.account, found.account):
            return twiml.apologise(DEFAULT_APOLOGY)
        visit = Visit(form.call, form.account, number, caller)
        if isinstance(found, Closed):
            self._calls.turn_away(visit, found.tenant, found.flow, found.outcome)
            if not found.forward:
                return twiml.apologise(found.text)
            return twiml.forward(found.forward, caller_id=caller or number, time_limit=found.longest)
        if caller and caller in found.tenant.blocked:
            self._calls.turn_away(visit, found.tenant.id, found.flow, "blocked")
            return twiml.reject()
        if self._calls.full(found.tenant):
            self._calls.turn_away(visit, found.tenant.id, found.flow, "busy")
            return twiml.apologise(found.tenant.pause)
        return self._connect(self._calls.begin(visit, found))

    def _may_call(self, account: str, owner: str) -> bool:
        """A tenant's own account reaches that tenant's numbers only; the platform's, every number."""
        return self._signatures.is_platform(account) or account == owner

    def go_on(self, form: SignedForm) -> str:
        """The stream is closed, or was lost: what now?"""
        record = self._calls.find(form.call, form.account)
        if record is None:
            return twiml.apologise(DEFAULT_APOLOGY)
        if record.over:
            return twiml.hang_up()
        match record.intent:
            case actions.Transfer() if record.pending is not None:  # that is over: its stream did not come
                return self._resume(record)
            case actions.Transfer():
                self._calls.transferring(record)  # its stream may have broken off before it could say so
                return self._dial(record, record.intent, 0)
            case actions.HangUp():
                return twiml.hang_up()
            case _:
                return self._resume(record)

    def dialed(self, form: SignedForm) -> str:
        """Ringing has ended: the next number, the flow's next node, or the end."""
        record = self._calls.find(form.call, form.account)
        if record is None or record.over or not isinstance(record.intent, actions.Transfer):
            return twiml.hang_up()
        if form.query.get("t", record.intent.id) != record.intent.id:  # of an earlier transfer, told again
            return twiml.hang_up()
        how = DIAL_STATUS.get(form.get("DialCallStatus"), "failed")
        turn = form.query.get("n", "0")
        tried = int(turn) if turn.isdecimal() and len(turn) < 3 else 0
        plan = self._plan(record, record.intent)
        if how != "answered" and isinstance(plan, Plan) and tried + 1 < len(plan.rounds):
            return self._dial(record, record.intent, tried + 1)
        return self._transferred(record, record.intent, how, form.get("DialCallDuration"))

    def whisper(self, form: SignedForm) -> str:
        """What the one who answers hears before the caller is put through."""
        record = self._calls.find(form.query.get("call", ""), form.account)
        if record is None or not isinstance(record.intent, actions.Transfer):
            return twiml.say("")
        plan = self._plan(record, record.intent)
        return twiml.say(plan.whisper if isinstance(plan, Plan) else "")

    def status(self, form: SignedForm) -> None:
        """Twilio says how the call stands; once it is over, nothing of it goes on."""
        record = self._calls.find(form.call, form.account)
        if record is None or form.get("CallStatus") not in OVER:
            return
        self._calls.over(record)

    # Streams

    def _connect(self, record: CallRecord) -> str:
        stream = self._signatures.stream_url(f"/twilio/media/{record.account}")
        token = self._calls.issue_token(record)
        return twiml.connect(stream, token, self._signatures.url("/twilio/continue"))

    def _resume(self, record: CallRecord) -> str:
        now = self._calls.services.wall()
        if record.may_resume(now):
            record.resumed.append(record.elapsed(now))
            return self._connect(record)
        self._calls.end(record, "failed")
        return twiml.apologise(record.assignment.tenant.apology)

    # Transfers

    def _plan(self, record: CallRecord, transfer: actions.Transfer) -> Plan | Refusal:
        """That of a transfer that was cleared: whether the department is open is not asked again."""
        return dialing.plan(record.assignment, transfer, record.caller)

    def _dial(self, record: CallRecord, transfer: actions.Transfer, turn: int) -> str:
        plan = self._plan(record, transfer)
        if isinstance(plan, Refusal):
            return self._transferred(record, transfer, plan.exit, "")
        url = self._signatures.url
        return twiml.dial(
            plan.rounds[turn],
            timeout=plan.ringing,
            time_limit=plan.time_limit,
            caller_id=plan.caller_id,
            action=url(f"/twilio/dialed?n={turn}&t={transfer.id}"),
            whisper=url(f"/twilio/whisper?call={record.call}") if plan.whisper else "",
        )

    def _transferred(self, record: CallRecord, transfer: actions.Transfer, how: How, seconds: str) -> str:
        """The flow goes on with how ringing ended: on a new stream, unless it is over with that."""
        if record.pending is None:
            at = record.elapsed(self._calls.services.wall())
            record.pending = events.TransferEnded(at, transfer.id, how, float(seconds) if seconds.isdecimal() else 0.0)
        session = record.session()
        record.pending = msgspec.structs.replace(record.pending, at=max(record.pending.at, session.at))
        session.receive(record.pending)
        if not session.ended:
            return self._connect(record)
        record.step(record.session(), record.pending)
        self._calls.publish(record, "transfer.ended", how=how, seconds=record.pending.seconds)
        self._calls.end(record, session.outcome)
        return twiml.hang_up()


def _caller(number: str) -> str:
    """The caller's number, E.164; empty when it is withheld, which Twilio shows as a word or as its digits."""
    return number if E164.fullmatch(number) and number not in WITHHELD else ""
