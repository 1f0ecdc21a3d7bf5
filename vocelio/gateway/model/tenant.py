"""Tenant settings, departments, and the dial rules of a tenant."""

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


DEFAULT_RING_SECONDS = 20.0  # about four rings


MAX_TRANSFER_SECONDS = 14_400  # Twilio's default, and well within the time that a process waits for a transfer's end


class Overflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What new callers get while the gateway is at capacity.

    ``message``: they hear ``text``, or else the tenant's ``unavailable_message``. ``queue``: they wait for a free slot,
    for at most ``max_wait_seconds``, and then hear the message. ``forward``: they are forwarded to ``number``, if the
    dial rules allow it.
    """

    action: Literal["message", "queue", "forward"] = "message"
    text: Annotated[str, Meta(max_length=1_000)] = ""
    number: Annotated[
        str,
        Meta(pattern=f"^({E164_PATTERN.pattern})?{PATTERN_END}", description="a telephone number such as +13072249663"),
    ] = ""
    max_wait_seconds: Annotated[int, Meta(ge=10, le=3_600)] = 300


class DialRules(msgspec.Struct, frozen=True, kw_only=True):
    """Which destinations a tenant's calls may be transferred or forwarded to; see dialing/rules.py.

    Without ``allowed_countries``, only the called number's country is allowed. Numbers that start with one of
    ``allowed_prefixes`` are always allowed. SIP addresses are allowed on ``allowed_sip_hosts`` only.
    """

    allowed_countries: CountryCodes = ()
    allowed_prefixes: NumberPrefixes = ()
    allowed_sip_hosts: SipHosts = ()


class Tenant(DialRules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A client company: its settings, and what its callers get where a flow does not say otherwise.

    ``time_zone`` is an IANA name; empty is UTC. ``voice`` is used for flows that name none. Callers hear
    ``error_message`` when a call fails, ``hold_message`` while they have to wait, and ``unavailable_message`` when a
    flow is paused or too many calls are live; ``overflow`` is what new callers get at capacity.
    ``max_concurrent_calls`` limits the live calls; calls of ``blocked_callers`` are rejected.

    Against toll fraud there are limits that can be changed but not removed: the dial rules, the transfers started per
    hour, the concurrent transfers, and the duration of a transfer.

    ``record_calls`` records both sides of every call: callers must be told. ``redact_logs`` masks telephone numbers,
    card numbers and e-mail addresses in what is logged about the tenant's calls.
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
    """A named transfer target. Each number rings for ``ring_timeout_seconds``, one after another or all at the same
    time.

    With ``simultaneous``, the first to answer gets the call. The answering party hears ``whisper``, a Liquid template;
    see dialing/whisper.py.
    """

    numbers: Annotated[tuple[PhoneNumber, ...], Meta(min_length=1, max_length=10)]
    ring_timeout_seconds: Annotated[float, Meta(ge=5, le=600)] = DEFAULT_RING_SECONDS
    ring: Literal["sequential", "simultaneous"] = "sequential"
    whisper: Annotated[str, Meta(max_length=500)] = ""
    hours: OpeningHours | None = None
