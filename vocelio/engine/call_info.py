"""What a flow may know of its call: fixed when the call begins, kept in its checkpoint."""

import re

import msgspec

from vocelio.engine.hours import OpeningHours

E164_PATTERN = re.compile(r"\+[1-9][0-9]{6,14}")


class TenantInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The client whose flow it is. ``time_zone`` is an IANA name; empty is UTC.

    ``apology`` is what a caller hears when the flow cannot go on; empty is a general one.
    """

    id: str
    name: str
    variables: dict[str, str] = {}
    time_zone: str = ""
    error_message: str = ""


class CallInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The call.

    ``caller`` and ``number`` are E.164 (``caller`` may be empty: withheld); ``started`` is whole microseconds
    UTC; ``seed`` tells apart callers who withhold their number. ``departments`` are those that a transfer can
    name (empty: not known, so nothing is refused); ``hours`` are theirs, where they have any.
    """

    call_id: str
    caller: str
    number: str
    tenant: TenantInfo
    started_at: int
    seed: str = ""
    departments: dict[str, str] = {}
    hours: dict[str, OpeningHours] = {}
