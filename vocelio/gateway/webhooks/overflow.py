"""A call for which there is no room: it gets what its tenant has set for that, and never a bad line.

A message is said; a forward rings a number, if a transfer to it would be allowed; a queue is Twilio's: whoever waits in
it is asked for every few seconds, by whichever process, and leaves it for the flow as soon as there is room. Only a
call that comes to no flow is refused, and kept as such; one that waited and had its turn is a call like any other.
"""

import logging
from urllib.parse import urlencode

from vocelio.engine.actions import Transfer
from vocelio.gateway.calls.lifecycle import CallLifecycle, IncomingCall
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.dialing.authorization import TransferAuthorizer
from vocelio.gateway.dialing.plan import DialPlan
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Overflow, Tenant
from vocelio.gateway.twilio import twiml
from vocelio.gateway.webhooks.responses import DEFAULT_HOLD_MESSAGE, TwimlResponses
from vocelio.gateway.webhooks.signed_form import TwilioRequest

LOG = logging.getLogger(__name__)

FULL_OUTCOME = "capacity"
QUEUE_POLL_SECONDS = 10  # between two looks whether there is room: what somebody waits too long, and a request for each
QUEUE_FAILED = ("queue-full", "error", "system-error")
"""Results of ``<Enqueue>`` after which another try is of no use."""


class OverflowWebhook:
    """What a call gets when this process is full."""

    def __init__(
        self,
        registry: CallRegistry,
        lifecycle: CallLifecycle,
        transfer_authorizer: TransferAuthorizer,
        responses: TwimlResponses,
    ) -> None:
        self._registry, self._lifecycle = registry, lifecycle
        self._transfer_authorizer, self._responses = transfer_authorizer, responses

    async def respond(
        self, incoming: IncomingCall, config: CallConfig, waited_seconds: float, previous_outcome: str
    ) -> str:
        """Instead of a stream. ``waited`` is how many seconds it was in the queue; ``before``: refused already."""
        overflow = config.tenant.overflow
        if overflow.action == "queue" and waited_seconds < overflow.max_wait_seconds and not previous_outcome:
            return self._enqueue(config.tenant, overflow, waited_seconds)
        plan = await self._forward_plan(incoming, config) if overflow.action == "forward" else None
        if not previous_outcome:
            self.reject(incoming, config, overflow.number if plan else "")
        if plan is None:
            return _overflow_message(config.tenant)
        return twiml.forward(overflow.number, caller_id=plan.caller_id, time_limit=plan.time_limit_seconds)

    def reject(self, incoming: IncomingCall, config: CallConfig, forwarded_to: str = "") -> None:
        """It comes to no flow; ``rung`` is the number that it is put through to."""
        self._lifecycle.reject(incoming, config.tenant.id, config.flow, FULL_OUTCOME, forwarded_to)

    def _enqueue(self, tenant: Tenant, overflow: Overflow, waited_seconds: float) -> str:
        seconds = round(waited_seconds)
        left = {"s": str(max(0, overflow.max_wait_seconds - seconds)), "text": tenant.hold_message}
        return twiml.enqueue(
            f"vocelio-{tenant.id}",
            wait_url=self._responses.public_url(f"/twilio/overflow?{urlencode(left)}"),
            action_url=self._responses.public_url(f"/twilio/voice?w={seconds}"),
        )

    async def wait_in_queue(self, request: TwilioRequest) -> str:
        """What a caller in the queue hears next; out of it, when there is room or it has been long enough."""
        if not self._registry.is_full or request.form_int("QueueTime") >= request.query_int("s"):
            return twiml.leave()
        return twiml.hold(request.query.get("text") or DEFAULT_HOLD_MESSAGE, QUEUE_POLL_SECONDS)

    async def _forward_plan(self, incoming: IncomingCall, config: CallConfig) -> DialPlan | None:
        """It counts as a transfer, and is bounded like one."""
        transfer = Transfer("overflow", number=config.tenant.overflow.number)
        try:
            decision = await self._transfer_authorizer.authorize(config, transfer, incoming.caller)
        except DatabaseUnavailable:
            return None
        if not isinstance(decision, DialPlan):
            LOG.warning("calls of %s are not forwarded when it is full: %s", config.tenant.id, decision.reason)
            return None
        return decision


def _overflow_message(tenant: Tenant) -> str:
    return twiml.say_and_hang_up(tenant.overflow.text or tenant.unavailable_message)
