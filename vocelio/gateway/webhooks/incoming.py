"""The webhooks of a call's begin and end: a call comes in, the first URL failed, the call or its stream is over.

All of them may be asked twice (Twilio retries) and answer the same twice, but for the stream's token; what they do is
done once.
"""

import asyncio
import logging
import math
from typing import TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from vocelio.engine.call_info import E164_PATTERN
from vocelio.gateway import logs
from vocelio.gateway.calls.lifecycle import CallLifecycle, IncomingCall
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.calls.repository import CallRepository
from vocelio.gateway.errors import DatabaseUnavailable
from vocelio.gateway.model.directory import CallConfig, Directory, NumberClosed
from vocelio.gateway.model.tenant import NOT_IN_SERVICE_MESSAGE
from vocelio.gateway.store.calls.interface import StoredCall
from vocelio.gateway.twilio import twiml
from vocelio.gateway.twilio.signatures import SignatureVerifier
from vocelio.gateway.webhooks.continuation import ContinuationWebhooks
from vocelio.gateway.webhooks.overflow import FULL_OUTCOME, QUEUE_FAILED, OverflowWebhook
from vocelio.gateway.webhooks.responses import ERROR_MESSAGE, TwimlResponses, fallback_or_apology
from vocelio.gateway.webhooks.signed_form import TwilioRequest

T = TypeVar("T")

LOG = logging.getLogger(__name__)

WITHHELD_NUMBERS = ("+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253")
"""ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN and UNAVAILABLE on a telephone's keys."""
FINAL_STATUSES = ("completed", "busy", "failed", "no-answer", "canceled")


class IncomingCallWebhooks:
    """One method for each webhook."""

    def __init__(
        self,
        registry: CallRegistry,
        lifecycle: CallLifecycle,
        repository: CallRepository,
        directory: Directory,
        verifier: SignatureVerifier,
        responses: TwimlResponses,
        continuation: ContinuationWebhooks,
        overflow: OverflowWebhook,
    ) -> None:
        self._registry, self._lifecycle, self._repository = registry, lifecycle, repository
        self._directory, self._verifier, self._responses = directory, verifier, responses
        self._continuation, self._overflow = continuation, overflow

    async def incoming_call(self, request: TwilioRequest) -> str:
        """A call comes in; or comes out of the queue in which it waited for room, or hung up."""
        number = request.get_required("To")
        asked = (self._directory.get_call_config(number), self._repository.find(request.call, request.account))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found, kept = _result_or_unavailable(answers[0]), _result_or_unavailable(answers[1])
        if isinstance(found, DatabaseUnavailable) or isinstance(kept, DatabaseUnavailable):
            return self._answer_without_store(request, found)
        if isinstance(found, CallConfig):
            logs.bind(tenant=found.tenant.id, redacted=found.tenant.redact_logs)
        if kept is not None and not kept.is_rejected:  # asked again
            return twiml.hang_up() if kept.is_over else await self._answer_repeated(kept, request)
        if found is None or not self._may_call(request.account, found.account_sid):
            return twiml.say_and_hang_up(NOT_IN_SERVICE_MESSAGE)
        visit = _incoming_call(request)
        if isinstance(found, NumberClosed):
            if kept is None:
                self._lifecycle.reject(visit, found.tenant, found.flow, found.outcome)
            return _closed_response(found, visit)
        if request.get("QueueResult") == "hangup":
            if kept is None:
                self._overflow.reject(visit, found)
            return twiml.hang_up()
        return await self._admit(visit, found, kept.outcome if kept else "", _queue_seconds(request))

    async def _answer_repeated(self, stored: StoredCall, request: TwilioRequest) -> str:
        """A call that has had a stream is past its begin, whatever Twilio asks."""
        return (
            await self._continuation.continue_stored(stored, request)
            if stored.generation
            else self._responses.connect_stored(stored)
        )

    async def _admit(
        self, incoming: IncomingCall, config: CallConfig, previous_outcome: str, queue_seconds: float
    ) -> str:
        """``before`` is why it was turned away, if Twilio has asked before: then it is for the same reason now.

        ``waited`` is how many seconds it was in the queue.
        """
        tenant = config.tenant

        def turn_away(outcome: str) -> None:
            if not previous_outcome:
                self._lifecycle.reject(incoming, tenant.id, config.flow, outcome)

        if previous_outcome == "unavailable":
            return fallback_or_apology(config, incoming.caller)
        if incoming.caller and incoming.caller in tenant.blocked_callers:
            turn_away("blocked")
            return twiml.reject()
        if previous_outcome == FULL_OUTCOME or (not previous_outcome and self._registry.is_full):
            return await self._overflow.respond(incoming, config, queue_seconds, previous_outcome)
        try:
            record = None if previous_outcome else await self._lifecycle.start_call(incoming, config)
        except DatabaseUnavailable:
            return fallback_or_apology(config, incoming.caller)
        if record is None:
            turn_away("tenant_limit")
            return twiml.say_and_hang_up(tenant.unavailable_message)
        return self._responses.connect(tenant.id, record.stored.account_sid, record.stored.id, 0)

    def _may_call(self, account: str, owner: str) -> bool:
        """A tenant's own account reaches that tenant's numbers only; the platform's, every number."""
        return self._verifier.is_platform(account) or account == owner

    def _answer_without_store(
        self, request: TwilioRequest, config: CallConfig | NumberClosed | DatabaseUnavailable | None
    ) -> str:
        """The fallback or the apology of a number that this process has seen before; or a general one."""
        if (
            config is None
            or isinstance(config, DatabaseUnavailable)
            or not self._may_call(request.account, config.account_sid)
        ):
            return twiml.say_and_hang_up(ERROR_MESSAGE)
        tenant = config.tenant if isinstance(config, NumberClosed) else config.tenant.id
        visit = _incoming_call(request)
        self._lifecycle.reject(visit, tenant, config.flow, "unavailable")
        return (
            _closed_response(config, visit)
            if isinstance(config, NumberClosed)
            else fallback_or_apology(config, visit.caller)
        )

    async def fallback(self, request: TwilioRequest) -> str:
        """Another of our URLs could not be fetched, or what it answered could not be carried out: answer in its place.

        Twilio names that URL in ErrorUrl and sends what it had sent there.
        """
        failed = _parse_url(request.get("ErrorUrl"))
        LOG.warning("call %s: Twilio's error %s at %s", request.call, request.get("ErrorCode")[:10], failed.path[:100])
        again = request.with_query(dict(parse_qsl(failed.query)))
        try:
            return await self._answer_for_path(failed.path, again)
        except DatabaseUnavailable:
            raise
        except Exception:  # our own defect, most likely the one that brought us here: nobody else would say anything
            LOG.exception("call %s: nothing helps", request.call)
            return twiml.say_and_hang_up(ERROR_MESSAGE)

    async def _answer_for_path(self, path: str, request: TwilioRequest) -> str:
        match path:
            case "/twilio/continue":
                return await self._continuation.continue_call(request)
            case "/twilio/dialed":
                return await self._continuation.dial_completed(request)
            case _:
                return await self.incoming_call(request)

    async def call_status(self, request: TwilioRequest) -> None:
        """Twilio says how the call stands; once it is over, nothing of it goes on."""
        if request.get("CallStatus") in FINAL_STATUSES:
            await self._registry.on_call_completed(request.account, request.call)

    async def stream_status(self, request: TwilioRequest) -> None:
        """Twilio says how a stream fares. Only that it broke off is news."""
        if request.get("StreamEvent") == "stream-error":
            LOG.warning("call %s: its stream: %s", request.call, request.get("StreamError")[:200])
            await self._lifecycle.on_stream_error(request.account, request.call, request.query_int("g"))


def _result_or_unavailable(result: T | BaseException) -> T | DatabaseUnavailable:
    """An answer, or that there is none at present. Raises what else went wrong."""
    if isinstance(result, BaseException) and not isinstance(result, DatabaseUnavailable):
        raise result
    return result


def _parse_url(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _incoming_call(request: TwilioRequest) -> IncomingCall:
    return IncomingCall(
        request.call, request.account, request.get_required("To"), _normalize_caller(request.get("From"))
    )


def _queue_seconds(request: TwilioRequest) -> float:
    """Seconds in the queue, over all its stays there; for ever, where there is no use in another."""
    if request.get("QueueResult") in QUEUE_FAILED:
        return math.inf
    return request.query_int("w") + request.form_int("QueueTime")


def _closed_response(closed: NumberClosed, incoming: IncomingCall) -> str:
    if not closed.forward_to:
        return twiml.say_and_hang_up(closed.message)
    return twiml.forward(
        closed.forward_to, caller_id=incoming.caller or incoming.number, time_limit=closed.max_transfer_seconds
    )


def _normalize_caller(number: str) -> str:
    """The caller's number, E.164; empty when it is withheld, which Twilio shows as a word or as its digits."""
    return number if E164_PATTERN.fullmatch(number) and number not in WITHHELD_NUMBERS else ""
