"""Webhooks at the start and the end of a call: incoming call, fallback, call status and stream status.

Twilio may repeat every request. The answer is then the same, except for the stream's token, and side effects are not
repeated.
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
from vocelio.gateway.webhooks import urls
from vocelio.gateway.webhooks.continuation import ContinuationWebhooks
from vocelio.gateway.webhooks.overflow import CAPACITY_OUTCOME, QUEUE_FAILED, OverflowWebhook
from vocelio.gateway.webhooks.responses import ERROR_MESSAGE, TwimlResponses, fallback_or_apology
from vocelio.gateway.webhooks.signed_form import TwilioRequest

T = TypeVar("T")

LOG = logging.getLogger(__name__)

WITHHELD_NUMBERS = ("+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253")
"""ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN and UNAVAILABLE as digits of a telephone keypad."""
FINAL_STATUSES = ("completed", "busy", "failed", "no-answer", "canceled")


class IncomingCallWebhooks:
    """One method per webhook."""

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
        """Answer /twilio/voice: a new call, a repeated request, or a call that has left the queue or hung up in it."""
        number = request.get_required("To")
        lookups = (self._directory.get_call_config(number), self._repository.find(request.call, request.account))
        results = await asyncio.gather(*lookups, return_exceptions=True)
        config, stored = _result_or_unavailable(results[0]), _result_or_unavailable(results[1])
        if isinstance(config, DatabaseUnavailable) or isinstance(stored, DatabaseUnavailable):
            return self._answer_without_database(request, config)
        if isinstance(config, CallConfig):
            logs.bind(tenant=config.tenant.id, redacted=config.tenant.redact_logs)
        if stored is not None and not stored.is_rejected:  # a repeated request
            return twiml.hang_up() if stored.is_over else await self._answer_repeated(stored, request)
        if config is None or not self._may_call(request.account, config.account_sid):
            return twiml.say_and_hang_up(NOT_IN_SERVICE_MESSAGE)
        incoming = _incoming_call(request)
        if isinstance(config, NumberClosed):
            if stored is None:
                self._lifecycle.reject(incoming, config.tenant, config.flow, config.outcome)
            return _closed_response(config, incoming)
        if request.get("QueueResult") == "hangup":
            if stored is None:
                self._overflow.reject(incoming, config)
            return twiml.hang_up()
        return await self._admit(incoming, config, stored.outcome if stored else "", _queue_seconds(request))

    async def _answer_repeated(self, stored: StoredCall, request: TwilioRequest) -> str:
        """Answer for a call that is stored already: continue it, or offer its first stream again."""
        return (
            await self._continuation.continue_stored(stored, request)
            if stored.generation
            else self._responses.connect_stored(stored)
        )

    async def _admit(
        self, incoming: IncomingCall, config: CallConfig, previous_outcome: str, queue_seconds: float
    ) -> str:
        """Start the call, or reject it.

        Args:
            incoming: The call.
            config: The configuration of the called number.
            previous_outcome: Why a repeated request was rejected before; it is then rejected for the same reason.
            queue_seconds: Seconds that the call has waited in the queue.
        """
        tenant = config.tenant

        def reject(outcome: str) -> None:
            if not previous_outcome:
                self._lifecycle.reject(incoming, tenant.id, config.flow, outcome)

        if previous_outcome == "unavailable":
            return fallback_or_apology(config, incoming.caller)
        if incoming.caller and incoming.caller in tenant.blocked_callers:
            reject("blocked")
            return twiml.reject()
        if previous_outcome == CAPACITY_OUTCOME or (not previous_outcome and self._registry.is_full):
            return await self._overflow.respond(incoming, config, queue_seconds, previous_outcome)
        try:
            record = None if previous_outcome else await self._lifecycle.start_call(incoming, config)
        except DatabaseUnavailable:
            return fallback_or_apology(config, incoming.caller)
        if record is None:
            reject("tenant_limit")
            return twiml.say_and_hang_up(tenant.unavailable_message)
        return self._responses.connect(tenant.id, record.stored.account_sid, record.stored.id, 0)

    def _may_call(self, account: str, owner: str) -> bool:
        """Return whether the account's calls reach a number that is claimed under ``owner`` (empty: the platform's)."""
        return account == owner if owner else self._verifier.is_platform(account)

    def _answer_without_database(
        self, request: TwilioRequest, config: CallConfig | NumberClosed | DatabaseUnavailable | None
    ) -> str:
        """Answer with the number's fallback or apology, if this process knows its configuration; else in general."""
        if (
            config is None
            or isinstance(config, DatabaseUnavailable)
            or not self._may_call(request.account, config.account_sid)
        ):
            return twiml.say_and_hang_up(ERROR_MESSAGE)
        tenant = config.tenant if isinstance(config, NumberClosed) else config.tenant.id
        incoming = _incoming_call(request)
        self._lifecycle.reject(incoming, tenant, config.flow, "unavailable")
        return (
            _closed_response(config, incoming)
            if isinstance(config, NumberClosed)
            else fallback_or_apology(config, incoming.caller)
        )

    async def fallback(self, request: TwilioRequest) -> str:
        """Answer /twilio/fallback in place of a URL that Twilio could not fetch or whose TwiML it could not execute.

        Twilio names that URL in ErrorUrl and sends the same form.
        """
        failed_url = _parse_url(request.get("ErrorUrl"))
        code = request.get("ErrorCode")
        LOG.warning(
            "call %s: Twilio reports error %s at %s; answering again", request.call, code, failed_url.path[:100]
        )
        repeated = request.with_query(parse_qsl(failed_url.query))
        try:
            return await self._answer_for_path(failed_url.path, repeated)
        except DatabaseUnavailable:
            raise
        except Exception:  # a defect, most likely the one that led here; without an answer the caller hears nothing
            LOG.exception("call %s: the fallback webhook failed, too; apologizing and hanging up", request.call)
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
        """Handle /twilio/status: end the call when Twilio reports its end."""
        if request.get("CallStatus") in FINAL_STATUSES:
            await self._registry.on_call_completed(request.account, request.call)

    async def stream_status(self, request: TwilioRequest) -> None:
        """Handle /twilio/stream: only the loss of a stream matters."""
        if request.get("StreamEvent") == "stream-error":
            reason = " ".join(request.get("StreamError").split())[:200]
            LOG.warning("call %s: Twilio lost its stream: %s", request.call, reason)
            generation = request.query_int(urls.GENERATION)
            await self._lifecycle.on_stream_error(request.account, request.call, generation)


def _result_or_unavailable(result: T | BaseException) -> T | DatabaseUnavailable:
    """Return a result or DatabaseUnavailable; raise any other error."""
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
    """Return the seconds in the queue over all stays; infinite if the queue failed, so that it is not tried again."""
    if request.get("QueueResult") in QUEUE_FAILED:
        return math.inf
    return request.query_int(urls.WAITED_SECONDS) + request.form_int("QueueTime")


def _closed_response(closed: NumberClosed, incoming: IncomingCall) -> str:
    if not closed.forward_to:
        return twiml.say_and_hang_up(closed.message)
    return twiml.forward(
        closed.forward_to, caller_id=incoming.caller or incoming.number, time_limit=closed.max_transfer_seconds
    )


def _normalize_caller(number: str) -> str:
    """Return the caller's number in E.164; empty if withheld, which Twilio reports as a word or as its digits."""
    return number if E164_PATTERN.fullmatch(number) and number not in WITHHELD_NUMBERS else ""
