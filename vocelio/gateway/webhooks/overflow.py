"""A call for which there is no room: it gets what its tenant has set for that, and never a bad line.

A message is said; a forward rings a number, if a transfer to it would be allowed; a queue is Twilio's: whoever waits in
it is asked for every few seconds, by whichever process, and leaves it for the flow as soon as there is room. Only a
call that comes to no flow is refused, and kept as such; one that waited and had its turn is a call like any other.
"""

import logging
from urllib.parse import urlencode

from vocelio.engine.actions import Transfer
from vocelio.gateway.calls.registry import Calls, Visit
from vocelio.gateway.dialing.plan import Plan
from vocelio.gateway.errors import StoreUnavailable
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Overflow, Tenant
from vocelio.gateway.twilio import twiml
from vocelio.gateway.webhooks.responses import HOLD, Answers
from vocelio.gateway.webhooks.signed_form import SignedForm

LOG = logging.getLogger(__name__)

OUTCOME = "full"
ASK_SECONDS = 10  # between two looks whether there is room: what somebody waits too long, and a request for each
UNQUEUED = ("queue-full", "error", "system-error")
"""Results of ``<Enqueue>`` after which another try is of no use."""


class Overflowing:
    """What a call gets when this process is full."""

    def __init__(self, calls: Calls, answers: Answers) -> None:
        self._calls, self._answers = calls, answers

    async def answer(self, visit: Visit, found: Assignment, waited: float, before: str) -> str:
        """Instead of a stream. ``waited`` is how many seconds it was in the queue; ``before``: refused already."""
        overflow = found.tenant.overflow
        if overflow.do == "queue" and waited < overflow.seconds and not before:
            return self._queue(found.tenant, overflow, waited)
        plan = await self._plan(visit, found) if overflow.do == "forward" else None
        if not before:
            self.refuse(visit, found, overflow.number if plan else "")
        if plan is None:
            return _message(found.tenant)
        return twiml.forward(overflow.number, caller_id=plan.caller_id, time_limit=plan.time_limit)

    def refuse(self, visit: Visit, found: Assignment, rung: str = "") -> None:
        """It comes to no flow; ``rung`` is the number that it is put through to."""
        self._calls.turn_away(visit, found.tenant.id, found.flow, OUTCOME, rung)

    def _queue(self, tenant: Tenant, overflow: Overflow, waited: float) -> str:
        seconds = round(waited)
        left = {"s": str(max(0, overflow.seconds - seconds)), "text": tenant.hold}
        return twiml.enqueue(
            f"vocelio-{tenant.id}",
            wait=self._answers.url(f"/twilio/overflow?{urlencode(left)}"),
            action=self._answers.url(f"/twilio/voice?w={seconds}"),
        )

    async def wait(self, form: SignedForm) -> str:
        """What a caller in the queue hears next; out of it, when there is room or it has been long enough."""
        if not self._calls.full_up or form.seconds("QueueTime") >= form.number("s"):
            return twiml.leave()
        return twiml.hold(form.query.get("text") or HOLD, ASK_SECONDS)

    async def _plan(self, visit: Visit, found: Assignment) -> Plan | None:
        """It counts as a transfer, and is bounded like one."""
        transfer = Transfer("overflow", number=found.tenant.overflow.number)
        try:
            decision = await self._calls.clearance.decide(found, transfer, visit.caller)
        except StoreUnavailable:
            return None
        if not isinstance(decision, Plan):
            LOG.warning("calls of %s are not forwarded when it is full: %s", found.tenant.id, decision.reason)
            return None
        return decision


def _message(tenant: Tenant) -> str:
    return twiml.apologise(tenant.overflow.text or tenant.pause)
