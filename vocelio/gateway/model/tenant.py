"""Tenant settings, departments, and the rules of whom a tenant's calls may ring."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from vocelio.engine.call_info import E164_PATTERN
from vocelio.engine.hours import OpeningHours
from vocelio.engine.voice import Voice
from vocelio.gateway.model.types import (
    PATTERN_END,
    CallerMessage,
    ConcurrencyLimit,
    CountryCodes,
    HourlyLimit,
    NumberPrefixes,
    PhoneNumber,
    SipHosts,
    TenantId,
    TimeZone,
    TransferSeconds,
)

NOT_IN_SERVICE_MESSAGE = "Sorry, this number is not in service. Please check it and call again. Goodbye."


DEFAULT_RING_SECONDS = 20.0  # seconds: about four rings


MAX_TRANSFER_SECONDS = (
    14_400  # seconds: Twilio's own default, and well within what a process waits for a transfer's end
)


class Overflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a new caller gets while the gateway has as many calls as it can carry.

    ``message``: hears ``text``, or else the tenant's ``pause``. ``queue``: waits until there is room, for at most
    ``seconds``, and hears the message then. ``forward``: is put through to ``number``, if transfers may ring it.
    """

    action: Literal["message", "queue", "forward"] = "message"
    text: Annotated[str, Meta(max_length=1_000)] = ""
    number: Annotated[
        str,
        Meta(pattern=f"^({E164_PATTERN.pattern})?{PATTERN_END}", description="a telephone number such as +13072249663"),
    ] = ""
    max_wait_seconds: Annotated[int, Meta(ge=10, le=3_600)] = 300


class DialRules(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a tenant's calls may be put through to; see destinations.

    ``countries`` none: that of the number that was called. ``destinations`` are prefixes of numbers that are always
    allowed. A SIP address is rung only on one of ``sip_hosts``.
    """

    allowed_countries: CountryCodes = ()
    allowed_prefixes: NumberPrefixes = ()
    allowed_sip_hosts: SipHosts = ()


class Tenant(DialRules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The client company, and what its callers get where a flow does not say otherwise.

    ``time_zone`` is an IANA name; empty is UTC. ``voice`` is what a flow that names none is promoted with.
    ``apology``, ``hold`` and ``pause`` are what a caller is told when something went wrong, has to wait a moment, or
    calls a flow that is paused; ``overflow`` is what a new caller gets when the gateway is full. ``max_calls`` limits
    the calls at once; ``blocked`` callers are not answered.

    Against toll fraud there are bounds that cannot be taken away, only set otherwise: whom transfers may ring
    (``countries``, ``destinations``, ``sip_hosts``), how many begin within an hour and are under way at once, and
    how many seconds a caller may talk to whoever answered.

    ``record_calls`` records every call, both sides: callers must be told. ``redact`` keeps numbers, cards and e-mail
    addresses out of what is logged about the tenant's calls.
    """

    id: TenantId
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    time_zone: TimeZone = ""
    variables: Annotated[dict[str, str], Meta(max_length=100)] = {}
    voice: Voice = Voice()
    error_message: CallerMessage = "Sorry, something went wrong. Please call again later. Goodbye."
    hold_message: CallerMessage = "One moment, please."
    unavailable_message: CallerMessage = (
        "Sorry, we cannot take your call at the moment. Please call again later. Goodbye."
    )
    overflow: Overflow = Overflow()
    max_concurrent_calls: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    blocked_callers: Annotated[tuple[PhoneNumber, ...], Meta(max_length=10_000)] = ()
    max_transfers_per_hour: HourlyLimit = 600
    max_concurrent_transfers: ConcurrencyLimit = 100
    max_transfer_seconds: TransferSeconds = MAX_TRANSFER_SECONDS
    record_calls: bool = False
    redact_logs: bool = True


class Department(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a transfer rings: ``timeout`` seconds each in turn, or all together; who answers hears ``whisper``.

    Rung together, whoever answers first has the call. ``whisper`` is a Liquid template; see whispers.
    """

    numbers: Annotated[tuple[PhoneNumber, ...], Meta(min_length=1, max_length=10)]
    ring_timeout_seconds: Annotated[float, Meta(ge=5, le=600)] = DEFAULT_RING_SECONDS
    ring: Literal["sequential", "simultaneous"] = "sequential"
    whisper: Annotated[str, Meta(max_length=500)] = ""
    hours: OpeningHours | None = None
