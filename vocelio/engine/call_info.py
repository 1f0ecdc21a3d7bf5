"""Facts about a call that a flow can read: fixed when the call starts, stored in its checkpoint."""

import re

import msgspec

from vocelio.engine.hours import OpeningHours

E164_PATTERN = re.compile(r"\+[1-9][0-9]{6,14}")


class TenantInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tenant that owns the flow.

    ``time_zone`` is an IANA name; empty means UTC. ``error_message`` is spoken when the flow cannot continue; empty
    means the default message.
    """

    id: str
    name: str
    variables: dict[str, str] = {}
    time_zone: str = ""
    error_message: str = ""


class CallInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call.

    ``caller`` and ``number`` are E.164; an empty ``caller`` is withheld. ``started_at`` is whole microseconds UTC.
    ``seed`` distinguishes callers with withheld numbers. ``departments`` are the valid transfer targets (empty:
    unknown, so none is rejected), ``hours`` the opening hours of those that have any.
    """

    call_id: str
    caller: str
    number: str
    tenant: TenantInfo
    started_at: int
    seed: str = ""
    departments: dict[str, str] = {}
    hours: dict[str, OpeningHours] = {}
