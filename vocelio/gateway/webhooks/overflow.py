"""Calls that this process cannot take: the tenant's overflow setting decides what they get.

A message is said; a forward rings a number, if a transfer to it would be allowed; a queue is Twilio's. Whether a queued
call can be taken is checked every few seconds, by whichever process Twilio asks, and the call then leaves the queue for
its flow. Only a call that reaches no flow is stored as rejected; one that waited and was taken is like any other.
"""

import logging

from vocelio.engine.actions import Transfer
from vocelio.gateway.calls.lifecycle import CallLifecycle, IncomingCall
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.dialing.authorization import TransferAuthorizer
from vocelio.gateway.dialing.plan import DialPlan
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Overflow, Tenant
from vocelio.gateway.twilio import twiml
from vocelio.gateway.webhooks import urls
from vocelio.gateway.webhooks.responses import DEFAULT_HOLD_MESSAGE, TwimlResponses
from vocelio.gateway.webhooks.signed_form import TwilioRequest

LOG = logging.getLogger(__name__)

CAPACITY_OUTCOME = "capacity"
QUEUE_POLL_SECONDS = 10  # how much longer than necessary a caller may wait; each poll is a request
QUEUE_FAILED = ("queue-full", "error", "system-error")
"""Results of ``<Enqueue>`` after which a second attempt is useless."""


class OverflowWebhook:
    """Answers calls that exceed the capacity of this process, and Twilio's requests for queued calls."""

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
        """Answer a call for which there is no capacity.

        Args:
            incoming: The call.
            config: The configuration of the called number.
            waited_seconds: Seconds that the call has already waited in the queue.
            previous_outcome: Not empty when the call was already rejected and Twilio repeats its request.
        """
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
        """Store the call as rejected; ``forwarded_to`` is the number that is rung instead, if any."""
        self._lifecycle.reject(incoming, config.tenant.id, config.flow, CAPACITY_OUTCOME, forwarded_to)

    def _enqueue(self, tenant: Tenant, overflow: Overflow, waited_seconds: float) -> str:
        waited = round(waited_seconds)
        remaining = max(0, overflow.max_wait_seconds - waited)
        return twiml.enqueue(
            f"vocelio-{tenant.id}",
            wait_url=self._responses.urls.queue_wait(remaining, tenant.hold_message),
            action_url=self._responses.urls.queue_left(waited),
        )

    async def wait_in_queue(self, request: TwilioRequest) -> str:
        """Continue to wait, or leave the queue when there is capacity or the waiting time is over."""
        queue_seconds, remaining = request.form_int("QueueTime"), request.query_int(urls.REMAINING_SECONDS)
        if not self._registry.is_full or queue_seconds >= remaining:
            return twiml.leave()
        return twiml.hold(request.query.get(urls.MESSAGE) or DEFAULT_HOLD_MESSAGE, QUEUE_POLL_SECONDS)

    async def _forward_plan(self, incoming: IncomingCall, config: CallConfig) -> DialPlan | None:
        """Authorize the forwarding, which counts as a transfer and has the same limits."""
        transfer = Transfer("overflow", number=config.tenant.overflow.number)
        try:
            decision = await self._transfer_authorizer.authorize(config, transfer, incoming.caller)
        except DatabaseUnavailable:
            return None
        if not isinstance(decision, DialPlan):
            LOG.warning(
                "overflow of tenant %s is not forwarded (%s); callers hear the message instead",
                config.tenant.id,
                decision.reason,
            )
            return None
        return decision


def _overflow_message(tenant: Tenant) -> str:
    return twiml.say_and_hang_up(tenant.overflow.text or tenant.unavailable_message)
